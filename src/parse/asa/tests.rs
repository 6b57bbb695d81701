//! What no line can do, however odd. What each message becomes is in `tests/samples/cisco.toml`.

use super::*;
use proptest::prelude::*;
use std::sync::LazyLock;

/// A line of every form, with its names as they stand.
static LINES: LazyLock<Vec<String>> = LazyLock::new(|| {
    (100_000..1_000_000)
        .filter_map(|id: u32| {
            let id = id.to_string();
            let message = forms::of(id.as_bytes())?;
            let own = message.forms.iter().chain(forms::COMMON);
            Some(own.map(move |form| format!("%ASA-6-{id}: {form}more")))
        })
        .flatten()
        .collect()
});

#[test]
fn a_line_is_told_by_its_tag() {
    for (line, id) in [
        ("%ASA-6-302013: Built", Some("302013")),
        ("<166>%FTD-1-430003: a", Some("430003")),
        ("<166>Nov 25 01:59:07 fw %PIX-0-106006: a", Some("106006")),
        ("x:%FWSM-7-106006 a", Some("106006")),
        ("\t%ASA-session-6-302013", Some("302013")),
        ("100%ASA-6-302013 %ASA-6-302014: a", Some("302014")),
        ("\"<166>%ASA-6-302013: a\"", Some("302013")),
        ("%ASA-8-302013: a", None),
        ("%ASA-6-30201: a", None),
        ("%ASA-6-3020130: a", None),
        ("%ASA-6-30201x: a", None),
        ("%ASA-Session-6-302013: a", None),
        ("%ASA-averyverylongclass-6-302013: a", None),
        ("%ASA--6-302013: a", None),
        ("%ASB-6-302013: a", None),
        ("%ASA-6-", None),
        ("%ASA", None),
        ("%", None),
        ("", None),
    ] {
        let found = read(line.as_bytes()).map(|line| line.id);
        assert_eq!(found, id.map(str::as_bytes), "{line}");
    }
}

#[test]
fn the_host_is_what_the_device_calls_itself() {
    for (line, host) in [
        ("<166>Nov 25 2026 01:59:07: %ASA-6-302013: a", None),
        (
            "<166>Nov 25 2026 01:59:07 fw : %ASA-6-302013: a",
            Some("fw"),
        ),
        ("<166>Nov 25 01:59:07 fw %ASA-6-302013: a", Some("fw")),
        ("<166>2026-11-25T01:59:07Z fw  %FTD-6-302013: a", Some("fw")),
        ("<166>2026-11-25T01:59:07Z   %FTD-6-302013: a", None),
        ("<166>:Nov 25 01:59:07 UTC: %ASA-6-302013: a", None),
        (
            "<166>1 2026-11-25T01:59:07Z fw - - - - %ASA-6-1: %ASA-6-302013: a",
            Some("fw"),
        ),
        ("<166>%ASA-6-302013: a", None),
        ("fw %ASA-6-302013: a", Some("fw")),
    ] {
        let found = read(line.as_bytes()).unwrap().origin.host;
        assert_eq!(found, host.map(str::as_bytes), "{line}");
    }
}

#[test]
fn more_fields_than_there_is_room_for_stand_in_the_text() {
    let mut fields = Fields::new();
    let names: Vec<String> = (0..2 * FIELDS_MAX).map(|n| format!("n{n}")).collect();
    for name in &names {
        fields.put(String::leak(name.clone()), b"x");
    }
    assert_eq!(fields.iter().count(), FIELDS_MAX);
}

/// What holds of any frame that is a line.
fn check(frame: &[u8]) {
    let Some(line) = read(frame) else { return };
    let bare = super::super::unquote(frame);
    // the text is whole: from the tag on, all of the frame
    assert!(bare.ends_with(line.text) && line.text.starts_with(b"%"));
    assert!(!line.activity().is_empty());
    let fields = line.fields();
    let mut names: Vec<_> = fields.iter().map(|(name, _)| name).collect();
    for (name, value) in fields.iter() {
        assert!(!value.is_empty() && value.trim_ascii() == value, "{name}");
        let is_ours = [
            &b"Inbound"[..],
            b"Outbound",
            b"ACL",
            b"AccessControlRuleName",
        ];
        let is_theirs = memmem::find(line.text, value).is_some();
        assert!(is_theirs || is_ours.contains(&value), "{name}");
        // what stands in AdditionalExtensions must be a key there
        assert!(
            name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'),
            "{name}"
        );
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), fields.iter().count());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_octets_make_it_panic_or_lose_text(body in proptest::collection::vec(any::<u8>(), 0..300), id in 100_000u32..800_000) {
        check(&body);
        check(&[format!("<166>fw : %ASA-6-{id}: ").as_bytes(), &body].concat());
        check(&[&b"%FTD-1-430003: "[..], &body].concat());
    }

    #[test]
    fn no_broken_message_makes_it_panic_or_lose_text(
        which in any::<prop::sample::Index>(),
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..9, "[ :/(){}<>,.\"@=A-Za-z0-9-]{0,6}"), 0..8),
    ) {
        let mut line = which.get(&LINES).clone().into_bytes();
        for (at, len, with) in cuts {
            let at = at.index(line.len() + 1);
            let end = (at + len).min(line.len());
            line.splice(at..end, with.into_bytes());
        }
        check(&line);
    }
}

#[test]
fn every_form_follows_itself() {
    for body in LINES.iter() {
        check(body.as_bytes());
        let line = read(body.as_bytes()).unwrap();
        let is_pairs = line.is_security_event();
        assert!(is_pairs || line.fields().iter().next().is_some(), "{body}");
    }
}
