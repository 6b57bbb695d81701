//! Microsoft's own test messages: those of the CEF connector's page, of its scripts, and of the page
//! for Cisco ASA and FTD. Whoever replaces the Azure Monitor Agent sends the same and asks the same.

/// A test message.
#[derive(Debug, Clone, Copy)]
pub struct Mock {
    /// What is special about it, and whose it is.
    pub what: &'static str,
    /// What goes in front: nothing, a PRI, or the header that `logger -t CEF` writes.
    head: Head,
    /// The message.
    text: &'static str,
    /// Whether a line feed ends it. Those that the page sends by `echo -n` have none.
    pub has_line_end: bool,
    /// The query that finds it.
    pub kql: &'static str,
}

/// What stands before a test message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    None,
    /// `<164>`: local4, warning.
    Pri,
    /// `<164>Nov 25 01:59:07 host CEF: `
    Logger,
}

/// All of them.
pub const MOCKS: &[Mock] = &[
    Mock {
        what: "the connector's script, by logger: a blank behind `CEF:`, text in place of times",
        head: Head::Logger,
        text: "0|TestCommonEventFormat|MOCK|common=event-format-test|end|TRAFFIC|1|\
               rt=$common=event-formatted-receive_time deviceExternalId=0002D01655 src=1.1.1.1 \
               dst=2.2.2.2 sourceTranslatedAddress=1.1.1.1 destinationTranslatedAddress=3.3.3.3 \
               cs1Label=Rule cs1=CEF_TEST_InternetDNS",
        has_line_end: true,
        kql: "CommonSecurityLog | where DeviceVendor == \"TestCommonEventFormat\" | where DeviceProduct == \"MOCK\"",
    },
    Mock {
        what: "the connector's page: neither time nor host nor line feed",
        head: Head::Pri,
        text: "CEF:0|Mock-test|MOCK|common=event-format-test|end|TRAFFIC|1|\
               rt=$common=event-formatted-receive_time",
        has_line_end: false,
        kql: "CommonSecurityLog | where DeviceProduct == \"MOCK\"",
    },
    Mock {
        what: "the connector's page, by logger: six pipes, the severity is missing",
        head: Head::Logger,
        text: "0|Mock-test|MOCK|common=event-format-test|end|TRAFFIC|\
               rt=$common=event-formatted-receive_time",
        has_line_end: true,
        kql: "CommonSecurityLog | where DeviceProduct == \"MOCK\"",
    },
    Mock {
        what: "the page for Cisco ASA: text that is not CEF",
        head: Head::Pri,
        text: "%ASA-7-106010: Deny inbound TCP src inet:1.1.1.1 dst inet:2.2.2.2",
        has_line_end: false,
        kql: "CommonSecurityLog | where DeviceVendor == \"Cisco\" | where DeviceProduct == \"ASA\"",
    },
    Mock {
        what: "the troubleshooter's sample of Cisco FTD: not even a PRI",
        head: Head::None,
        text: "%FTD-6-305012: Teardown dynamic UDP translation from inside:10.51.100.1/54453 to \
               outside:10.0.2.3/54453 duration 0:00:00",
        has_line_end: true,
        kql: "CommonSecurityLog | where DeviceVendor == \"Cisco\" | where DeviceEventClassID == \"305012\"",
    },
    Mock {
        what: "the agent's trace sample: a blank is missing before `cs3Label`",
        head: Head::Logger,
        text: "0|device1|PAN-OS|8.0.0|general|SYSTEM|3|rt=Nov 04 2018 07:15:46 GMTcs3Label=Virtual",
        has_line_end: true,
        kql: "CommonSecurityLog | where DeviceVendor == \"device1\" | where DeviceProduct == \"PAN-OS\"",
    },
];

impl Mock {
    /// The message as it is sent, without a line feed. `time` is in the form of RFC 3164
    /// (`Nov 25 01:59:07`), `host` the sender's name.
    #[must_use]
    pub fn line(&self, time: &str, host: &str) -> String {
        let text = self.text;
        match self.head {
            Head::None => text.to_owned(),
            Head::Pri => format!("<164>{text}"),
            Head::Logger => format!("<164>{time} {host} CEF: {text}"),
        }
    }
}
