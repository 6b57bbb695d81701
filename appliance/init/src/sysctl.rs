//! Sets the kernel's settings by a list, and reads each back: what counts is what the kernel says.

use std::fmt;
use std::fs;
use std::path::PathBuf;

/// A setting that is not as the list wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// As `kernel.sysrq`.
    pub key: String,
    /// What the list says.
    pub wanted: String,
    /// What the kernel says, or why it cannot be asked.
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { key, wanted, found } = self;
        write!(f, "sysctl {key} is {found}, not {wanted}")
    }
}

/// The settings of a list: `key = value` a line; `#` begins a comment.
pub fn settings(list: &str) -> impl Iterator<Item = (&str, &str)> {
    list.lines()
        .filter_map(|line| line.split('#').next()?.split_once('='))
        .map(|(key, value)| (key.trim(), value.trim()))
}

/// Sets all of a list. Gives those that are not as it says.
#[must_use]
pub fn apply(list: &str) -> Vec<Difference> {
    let applied = settings(list).map(|(key, value)| apply_one(key, value));
    applied.filter_map(Result::err).collect()
}

/// Those of a list that are not as it says, without setting any.
#[must_use]
pub fn differences(list: &str) -> Vec<Difference> {
    let compared = settings(list).map(|(key, value)| compare(key, value));
    compared.filter_map(Result::err).collect()
}

/// Sets one.
///
/// # Errors
/// It is not so.
pub fn apply_one(key: &str, value: &str) -> Result<(), Difference> {
    // with its end of line also an empty value is something to write
    match fs::write(path_of(key), format!("{value}\n")) {
        // what was set for good before is as good
        Err(error) => compare(key, value).map_err(|difference| Difference {
            found: format!("{} ({error})", difference.found),
            ..difference
        }),
        Ok(()) => compare(key, value),
    }
}

fn compare(key: &str, wanted: &str) -> Result<(), Difference> {
    let found = match fs::read_to_string(path_of(key)) {
        Ok(found) if is_same(&found, wanted) => return Ok(()),
        Ok(found) => found.split_whitespace().collect::<Vec<_>>().join(" "),
        Err(error) => format!("unknown: {error}"),
    };
    Err(Difference {
        key: key.to_owned(),
        wanted: wanted.to_owned(),
        found,
    })
}

/// Several values in one setting are parted by any blanks.
fn is_same(found: &str, wanted: &str) -> bool {
    found.split_whitespace().eq(wanted.split_whitespace())
}

/// Dots part the key, or slashes where a part has dots of its own.
fn path_of(key: &str) -> PathBuf {
    let path = if key.contains('/') {
        key.to_owned()
    } else {
        key.replace('.', "/")
    };
    PathBuf::from("/proc/sys").join(path.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_a_setting_a_line_and_comments() {
        let list =
            "# reasons\nkernel.sysrq = 0\n\nnet.ipv4.tcp_rmem=4096 131072 33554432 # bytes\nx\n";
        let settings: Vec<_> = settings(list).collect();
        assert_eq!(
            settings,
            [
                ("kernel.sysrq", "0"),
                ("net.ipv4.tcp_rmem", "4096 131072 33554432")
            ]
        );
    }

    #[test]
    fn blanks_make_no_difference() {
        assert!(is_same("4096\t131072\t6291456\n", "4096 131072 6291456"));
        assert!(!is_same("1\n", "0"));
        assert!(!is_same("1 2\n", "1"));
    }

    #[test]
    fn a_key_is_a_path_below_the_kernels_settings() {
        assert_eq!(
            path_of("kernel.sysrq"),
            PathBuf::from("/proc/sys/kernel/sysrq")
        );
        let dotted = path_of("net/ipv4/conf/eth0.1/rp_filter");
        assert_eq!(
            dotted,
            PathBuf::from("/proc/sys/net/ipv4/conf/eth0.1/rp_filter")
        );
    }

    #[test]
    fn a_setting_that_is_not_there_is_a_difference() {
        let difference = differences("no.such.setting = 1").remove(0);
        assert_eq!(difference.key, "no.such.setting");
        assert!(
            difference.to_string().contains("No such file"),
            "{difference}"
        );
        assert_eq!(differences("kernel.ostype = Linux"), []);
        assert_eq!(differences("kernel.ostype = Minix")[0].found, "Linux");
    }
}
