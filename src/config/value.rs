//! Single values: a TOML value in, a checked value or what is wrong with it out.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::{Offset, TimeZone};
use toml::de::DeValue;

use super::nearest::nearest;
use crate::limits::{HOST_NAME_BYTES_MOST, KIB, MIB};

/// A checked value, or what is wrong with it.
pub(super) type Checked<T> = Result<T, Wrong>;

/// What is wrong with a value, and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) what: String,
    pub(super) allowed: String,
    /// True if the message must not repeat the value.
    pub(super) hide_value: bool,
}

impl Wrong {
    pub(super) fn new(what: impl Into<String>, allowed: impl Into<String>) -> Self {
        Wrong {
            what: what.into(),
            allowed: allowed.into(),
            hide_value: false,
        }
    }

    /// The same without the value, where that is all of a table.
    pub(super) fn bare(self) -> Self {
        Wrong {
            hide_value: true,
            ..self
        }
    }

    /// The same without the value, which could be a secret.
    pub(super) fn hidden(self) -> Self {
        Wrong {
            what: format!("{} (value not shown)", self.what),
            hide_value: true,
            ..self
        }
    }

    /// The same, hidden if `text` looks like a generated secret: small letters, capitals and
    /// digits mixed, or the `~` that Entra puts into its secrets. Ids and secrets stand side by
    /// side on the page that people copy from.
    pub(super) fn hidden_if_secret(self, text: &str) -> Self {
        let any = |of: fn(char) -> bool| text.contains(of);
        let mixed = any(|c| c.is_ascii_lowercase())
            && any(|c| c.is_ascii_uppercase())
            && any(|c| c.is_ascii_digit());
        if text.contains('~') || (mixed && text.len() >= 16) {
            return self.hidden();
        }
        self
    }
}

/// A whole number in `range`.
pub(super) fn count(value: &DeValue<'_>, range: RangeInclusive<usize>) -> Checked<usize> {
    let allowed = format!("a whole number from {} to {}", range.start(), range.end());
    match value {
        DeValue::Integer(_) => match integer(value) {
            Some(count) if range.contains(&count) => Ok(count),
            _ => Err(Wrong::new("out of range", allowed)),
        },
        DeValue::String(text) if text.trim().parse::<usize>().is_ok() => Err(Wrong::new(
            "text, not a number",
            format!("{allowed}, without quotes"),
        )),
        other => Err(Wrong::new(kind_not(other, "a number"), allowed)),
    }
}

/// A whole number in `range`, or `"auto"` (nothing).
pub(super) fn count_or_auto(
    value: &DeValue<'_>,
    range: RangeInclusive<usize>,
) -> Checked<Option<usize>> {
    if value.as_str() == Some("auto") {
        return Ok(None);
    }
    let number = count(value, range).map_err(|wrong| Wrong {
        allowed: format!("{}, or \"auto\"", wrong.allowed),
        ..wrong
    });
    number.map(Some)
}

/// A size in `range`: a number of bytes, or text like `"64 KiB"`.
pub(super) fn size(value: &DeValue<'_>, range: RangeInclusive<usize>) -> Checked<usize> {
    let allowed = format!(
        "a number of bytes or text like \"64 KiB\" (units {}), from {} to {}",
        names(SIZE_UNITS),
        bytes_text(*range.start()),
        bytes_text(*range.end())
    );
    let bytes = match value {
        DeValue::Integer(_) => integer(value),
        DeValue::String(text) => match quantity(text, SIZE_UNITS) {
            Ok(bytes) => usize::try_from(bytes).ok(),
            Err(what) => return Err(Wrong::new(what, allowed)),
        },
        other => return Err(Wrong::new(kind_not(other, "a size"), allowed)),
    };
    match bytes {
        Some(bytes) if range.contains(&bytes) => Ok(bytes),
        _ => Err(Wrong::new("out of range", allowed)),
    }
}

/// A time in `range`, like `"1 s"`: the unit is never left out.
pub(super) fn time(value: &DeValue<'_>, range: RangeInclusive<Duration>) -> Checked<Duration> {
    let allowed = format!(
        "text like \"1 s\" (units {}), from {} to {}",
        names(TIME_UNITS),
        time_text(*range.start()),
        time_text(*range.end())
    );
    let text = match value {
        DeValue::String(text) => text,
        DeValue::Integer(number) => {
            let what = format!("a number without unit: write \"{number} s\" or \"{number} ms\"");
            return Err(Wrong::new(what, allowed));
        }
        other => return Err(Wrong::new(kind_not(other, "a time"), allowed)),
    };
    match quantity(text, TIME_UNITS) {
        Ok(ms) if range.contains(&Duration::from_millis(ms)) => Ok(Duration::from_millis(ms)),
        Ok(_) => Err(Wrong::new("out of range", allowed)),
        Err(what) => Err(Wrong::new(what, allowed)),
    }
}

const SIZE_UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("kB", 1000),
    ("KB", 1000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
];

/// In milliseconds.
const TIME_UNITS: &[(&str, u64)] = &[("ms", 1), ("s", 1000), ("min", 60_000), ("h", 3_600_000)];

/// A whole number and its unit, with or without a blank between them.
fn quantity(text: &str, units: &[(&str, u64)]) -> Result<u64, String> {
    let text = text.trim();
    let digits_end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(digits_end);
    let unit = rest.trim_start();
    if digits.is_empty() || rest.starts_with(['.', ',', '_']) {
        return Err("not a whole number and a unit".into());
    }
    if unit.is_empty() {
        return Err("no unit behind the number".into());
    }
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        let unit: String = unit.escape_debug().take(20).collect();
        return Err(format!("unknown unit \"{unit}\""));
    };
    let number: Option<u64> = digits.parse().ok();
    number
        .and_then(|number| number.checked_mul(*factor))
        .ok_or_else(|| "a number past all bounds".into())
}

/// `true` or `false`.
pub(super) fn boolean(value: &DeValue<'_>) -> Checked<bool> {
    value
        .as_bool()
        .ok_or_else(|| Wrong::new(kind_not(value, "a switch"), "true or false, without quotes"))
}

/// One of the words in `choices`.
pub(super) fn choice<T: Copy>(value: &DeValue<'_>, choices: &[(&str, T)]) -> Checked<T> {
    let words = || choices.iter().map(|(word, _)| *word);
    let quoted: Vec<String> = words().map(|word| format!("\"{word}\"")).collect();
    let allowed = format!("one of {}", quoted.join(", "));
    let text = text(value, &allowed)?;
    let found = choices.iter().find(|(word, _)| *word == text);
    found.map(|(_, chosen)| *chosen).ok_or_else(|| {
        let what = match nearest(text, words()) {
            Some(meant) => format!("unknown; did you mean \"{meant}\"?"),
            None => "unknown".into(),
        };
        Wrong::new(what, allowed)
    })
}

/// Text that is not empty; `allowed` says what it should be.
pub(super) fn text<'v>(value: &'v DeValue<'_>, allowed: &str) -> Checked<&'v str> {
    match value {
        DeValue::String(text) if text.trim().is_empty() => Err(Wrong::new("empty", allowed)),
        DeValue::String(text) => Ok(text),
        other => Err(Wrong::new(kind_not(other, "text in quotes"), allowed)),
    }
}

/// `IP:PORT`, with a port that others can know.
pub(super) fn address(value: &DeValue<'_>) -> Checked<SocketAddr> {
    const ALLOWED: &str = "IP:PORT like \"0.0.0.0:514\" or \"[::]:514\", port 1 to 65535";
    let text = text(value, ALLOWED)?;
    let wrong = |what: &str| Err(Wrong::new(what, ALLOWED));
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() == 0 => wrong("port 0 is none that a sender could know"),
        Ok(address) => Ok(address),
        Err(_) if text.parse::<std::net::IpAddr>().is_ok() => wrong("no port"),
        Err(_) => match text.rsplit_once(':') {
            Some((_, port)) if port.parse::<u16>().is_err() => wrong("not a port behind the colon"),
            Some(_) => wrong("not an IP address before the port"),
            None => wrong("not an address"),
        },
    }
}

/// An IANA zone, or a fixed offset `+HH:MM`. Names are looked up in the machine's zone database,
/// which is kept up to date, else in the one that is built in.
pub(super) fn time_zone(value: &DeValue<'_>) -> Checked<TimeZone> {
    const ALLOWED: &str = "a zone like \"Europe/Berlin\" or \"UTC\", or an offset like \"+02:00\" \
                           up to 14 hours";
    let text = text(value, ALLOWED)?;
    if text.starts_with(['+', '-']) {
        return fixed_offset(text)
            .map(TimeZone::fixed)
            .ok_or_else(|| Wrong::new("not an offset", ALLOWED));
    }
    TimeZone::get(text).map_err(|_| {
        let known: Vec<String> = jiff::tz::db()
            .available()
            .map(|zone| zone.to_string())
            .collect();
        let what = match nearest(text, known.iter().map(String::as_str)) {
            Some(meant) => format!("unknown zone; did you mean \"{meant}\"?"),
            None => "unknown zone".into(),
        };
        Wrong::new(what, ALLOWED)
    })
}

fn fixed_offset(text: &str) -> Option<Offset> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = digits.split_once(':')?;
    let two_digits = |text: &str| {
        let plain = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<i32>().ok().filter(|_| plain)
    };
    let (hours, minutes) = (two_digits(hours)?, two_digits(minutes)?);
    let seconds = (hours * 60 + minutes) * 60;
    (minutes < 60 && seconds <= 14 * 3600)
        .then(|| Offset::from_seconds(sign * seconds).ok())
        .flatten()
}

/// An absolute path. A service's working directory is nothing that a person should have to know.
/// A secret that someone wrote in place of its file's name is refused here too, and not repeated.
pub(super) fn path(value: &DeValue<'_>) -> Checked<PathBuf> {
    const ALLOWED: &str = "the absolute path of a file, like \"/etc/cefline/client-secret\"";
    let text = text(value, ALLOWED)?;
    if !text.starts_with('/') || text.contains('\0') {
        return Err(Wrong::new("not an absolute path", ALLOWED).hidden_if_secret(text));
    }
    Ok(PathBuf::from(text))
}

/// The name of a variable of the environment. A secret that someone wrote in its place is refused
/// and not repeated.
pub(super) fn variable(value: &DeValue<'_>) -> Checked<String> {
    const ALLOWED: &str =
        "the name of an environment variable, like \"CEFLINE_SECRET\", not its value";
    let text = text(value, ALLOWED)?;
    let plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    if !text.bytes().all(plain) || text.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(Wrong::new("not such a name in capitals", ALLOWED).hidden());
    }
    Ok(text.to_owned())
}

/// Who a proxy thinks we are.
pub(super) fn proxy_user(value: &DeValue<'_>) -> Checked<String> {
    const ALLOWED: &str = "a name without colon and control characters, up to 255 bytes";
    let text = text(value, ALLOWED)?;
    if text.len() > 255 || text.contains(|c: char| c == ':' || c.is_control()) {
        return Err(Wrong::new("not a proxy user's name", ALLOWED).hidden());
    }
    Ok(text.to_owned())
}

/// The name of a credential of systemd's: a file name.
pub(super) fn credential(value: &DeValue<'_>) -> Checked<String> {
    const ALLOWED: &str = "the name that LoadCredential gives it, like \"client-secret\"";
    let text = text(value, ALLOWED)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if !text.bytes().all(plain) || text.starts_with('.') {
        return Err(Wrong::new("not a credential's name", ALLOWED).hidden());
    }
    Ok(text.to_owned())
}

/// A name for `CollectorHostName`.
pub(super) fn host_name(value: &DeValue<'_>) -> Checked<String> {
    let allowed = format!("1 to {HOST_NAME_BYTES_MOST} bytes without control characters");
    let text = text(value, &allowed)?;
    if text.len() > HOST_NAME_BYTES_MOST || text.contains(char::is_control) {
        return Err(Wrong::new("not a host's name", allowed));
    }
    Ok(text.to_owned())
}

/// `"auto"` (nothing), or a number of cores up to `cores_count`.
pub(super) fn cores(value: &DeValue<'_>, cores_count: usize) -> Checked<Option<usize>> {
    let allowed = format!("\"auto\", or a number from 1 to {cores_count} without quotes");
    match value {
        DeValue::String(text) if text == "auto" => Ok(None),
        DeValue::Integer(_) => match integer(value) {
            Some(0) => Err(Wrong::new("nothing would run", allowed)),
            Some(count) if count <= cores_count => Ok(Some(count)),
            _ => {
                let what = format!("more than the {cores_count} cores that this process may use");
                Err(Wrong::new(what, allowed))
            }
        },
        other => Err(Wrong::new(kind_not(other, "a number of cores"), allowed)),
    }
}

/// A TOML integer that is no less than zero and fits.
fn integer(value: &DeValue<'_>) -> Option<usize> {
    let number = value.as_integer()?;
    usize::from_str_radix(number.as_str(), number.radix()).ok()
}

/// What a value is, in words.
pub(super) fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}

fn kind_not(value: &DeValue<'_>, wanted: &str) -> String {
    format!("{}, not {wanted}", kind_of(value))
}

fn names(units: &[(&str, u64)]) -> String {
    let names: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

/// A number of bytes as people write it: `64 KiB`, `1000000 B`.
#[must_use]
pub fn bytes_text(bytes: usize) -> String {
    const GIB: usize = 1024 * MIB;
    for (unit, name) in [(GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")] {
        if bytes >= unit && bytes.is_multiple_of(unit) {
            return format!("{} {name}", bytes / unit);
        }
    }
    format!("{bytes} B")
}

/// A time as people write it: `1 s`, `250 ms`, `2 min`.
#[must_use]
pub fn time_text(time: Duration) -> String {
    let ms = time.as_millis();
    for (unit, name) in [(3_600_000, "h"), (60_000, "min"), (1000, "s")] {
        if ms > unit && ms.is_multiple_of(unit) || ms == unit {
            return format!("{} {name}", ms / unit);
        }
    }
    format!("{ms} ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_value(text: &str) -> DeValue<'_> {
        DeValue::String(text.into())
    }

    #[test]
    fn quantities_are_a_whole_number_and_a_unit() {
        for (text, expected) in [
            ("64 KiB", Ok(65_536)),
            ("64KiB", Ok(65_536)),
            (" 512 B ", Ok(512)),
            ("1 MB", Ok(1_000_000)),
            ("0 B", Ok(0)),
            ("1 GiB", Ok(1 << 30)),
            ("64", Err("no unit behind the number")),
            ("64 K", Err("unknown unit \"K\"")),
            ("64 kib", Err("unknown unit \"kib\"")),
            ("1.5 MiB", Err("not a whole number and a unit")),
            ("1_000 B", Err("not a whole number and a unit")),
            ("-1 B", Err("not a whole number and a unit")),
            ("", Err("not a whole number and a unit")),
            ("KiB", Err("not a whole number and a unit")),
            ("99999999999999999999 B", Err("a number past all bounds")),
            ("99999999999999999 GiB", Err("a number past all bounds")),
        ] {
            let expected = expected.map_err(str::to_owned);
            assert_eq!(quantity(text, SIZE_UNITS), expected, "{text:?}");
        }
        assert_eq!(quantity("2 min", TIME_UNITS), Ok(120_000));
        assert_eq!(
            quantity("1 m", TIME_UNITS),
            Err("unknown unit \"m\"".into())
        );
    }

    #[test]
    fn ranges_hold_at_both_ends() {
        let range = 1024..=2048;
        for (text, good) in [
            ("1023 B", false),
            ("1 KiB", true),
            ("2 KiB", true),
            ("2049 B", false),
        ] {
            let found = size(&text_value(text), range.clone());
            assert_eq!(found.is_ok(), good, "{text}");
        }
        let range = Duration::from_millis(10)..=Duration::from_secs(60);
        for (text, good) in [
            ("9 ms", false),
            ("10 ms", true),
            ("1 min", true),
            ("60001 ms", false),
        ] {
            let found = time(&text_value(text), range.clone());
            assert_eq!(found.is_ok(), good, "{text}");
        }
    }

    #[test]
    fn sizes_and_times_are_shown_as_they_are_written() {
        for bytes in [0, 1, 1023, 1024, 65_536, 1_000_000, 3 << 20, 5 << 30] {
            assert_eq!(quantity(&bytes_text(bytes), SIZE_UNITS), Ok(bytes as u64));
        }
        for ms in [0, 1, 999, 1000, 1500, 60_000, 90_000, 3_600_000] {
            let text = time_text(Duration::from_millis(ms));
            assert_eq!(quantity(&text, TIME_UNITS), Ok(ms), "{text}");
        }
        assert_eq!(bytes_text(65_536), "64 KiB");
        assert_eq!(time_text(Duration::from_secs(60)), "1 min");
        assert_eq!(time_text(Duration::from_millis(90_500)), "90500 ms");
    }

    #[test]
    fn addresses_need_an_ip_and_a_port() {
        assert!(address(&text_value("0.0.0.0:514")).is_ok());
        assert!(address(&text_value("[::1]:6514")).is_ok());
        for (text, what) in [
            ("0.0.0.0:0", "port 0 is none that a sender could know"),
            ("0.0.0.0", "no port"),
            ("::1", "no port"),
            ("0.0.0.0:65536", "not a port behind the colon"),
            ("0.0.0.0:", "not a port behind the colon"),
            ("collector.example:514", "not an IP address before the port"),
            ("514", "not an address"),
            ("", "empty"),
        ] {
            let found = address(&text_value(text)).map_err(|wrong| wrong.what);
            assert_eq!(found, Err(what.to_owned()), "{text}");
        }
    }

    #[test]
    fn zones_are_names_or_offsets() {
        for text in ["UTC", "Europe/Berlin", "+00:00", "-09:30", "+14:00"] {
            assert!(time_zone(&text_value(text)).is_ok(), "{text}");
        }
        let east = time_zone(&text_value("+02:00")).unwrap();
        assert_eq!(east.to_fixed_offset().unwrap().seconds(), 7200);
        for text in [
            "+2:00",
            "+02",
            "+14:01",
            "+10:60",
            "+aa:bb",
            "Mars/Base",
            "CET+",
        ] {
            assert!(time_zone(&text_value(text)).is_err(), "{text}");
        }
        let wrong = time_zone(&text_value("Europe/Berlni")).unwrap_err();
        assert!(wrong.what.contains("Europe/Berlin"), "{}", wrong.what);
    }

    #[test]
    fn what_could_be_a_secret_is_not_repeated() {
        assert!(path(&text_value("/etc/cefline/secret")).is_ok());
        for (text, hidden) in [
            ("abc~", true),
            ("Ab1Ab1Ab1Ab1Ab1/", true),
            ("Secret1", false),
            ("./client-secret", false),
            ("", false),
        ] {
            let wrong = path(&text_value(text)).unwrap_err();
            assert_eq!(wrong.hide_value, hidden, "{text}");
        }
    }
}
