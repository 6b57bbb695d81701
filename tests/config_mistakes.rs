//! Every mistake in a configuration gets one message that leads to it; good configurations get
//! none.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/skip.rs"]
mod skip;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cefline::config::{self, Config, FramingChoice, Loaded, Machine, REFERENCE};

/// The smallest configuration, as the README gives it.
const SMALLEST: &str = r#"[listen]
tcp = ["0.0.0.0:514"]

[sentinel]
endpoint = "https://NAME.REGION-1.ingest.monitor.azure.com"
rules = ["dcr-00000000000000000000000000000000"]   # immutable ids; one or more
stream = "Custom-CommonSecurityLog"

[sentinel.identity]
kind = "client_secret"
tenant_id = "00000000-0000-0000-0000-000000000000"
client_id = "00000000-0000-0000-0000-000000000000"
secret_file = "/etc/cefline/client-secret"
"#;

/// What stands in the secret's file in these tests, and must stand nowhere else.
const CANARY: &str = "canary~NOT.a-secret_8Q";

fn machine() -> Machine {
    Machine {
        cores: vec![0, 1, 2, 3],
        cores_quota: None,
        host_name: "collector".into(),
    }
}

/// A folder with a configuration and the files that it names.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        folder.file("secret", CANARY.as_bytes(), 0o600);
        folder
    }

    fn file(&self, name: &str, bytes: &[u8], mode: u32) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// Reads `text`, in which `FOLDER` stands for this folder.
    fn read(&self, text: &str) -> Result<Loaded, String> {
        let text = text
            .replace("/etc/cefline/client-secret", "FOLDER/secret")
            .replace("FOLDER", &self.0.path().display().to_string());
        let file = self.file("cefline.toml", text.as_bytes(), 0o600);
        Loaded::read(&file, &machine()).map_err(|error| error.to_string())
    }
}

/// One mistake: what of [`SMALLEST`] becomes what, and what the message must say.
struct Mistake {
    from: &'static str,
    to: &'static str,
    says: &'static [&'static str],
}

const fn mistake(from: &'static str, to: &'static str, says: &'static [&'static str]) -> Mistake {
    Mistake { from, to, says }
}

/// Where sections of their own are put: behind all others.
const END: &str = "";
const TCP: &str = "tcp = [\"0.0.0.0:514\"]";
const ENDPOINT: &str = "\"https://NAME.REGION-1.ingest.monitor.azure.com\"";
const RULES: &str = "[\"dcr-00000000000000000000000000000000\"]";
const SECRET_FILE: &str = "secret_file = \"/etc/cefline/client-secret\"";
const SECRET: &str = "\"/etc/cefline/client-secret\"";
const CLIENT: &str = "client_id = \"00000000-0000-0000-0000-000000000000\"";
const TENANT: &str = "tenant_id = \"00000000-0000-0000-0000-000000000000\"";

const MISTAKES: &[Mistake] = &[
    // ---- filters
    mistake(
        END,
        "[[filter]]\naction = \"drop\"\n",
        &[":14: filter.name: this key is missing; write name = \"my-rule\""],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"R 1\"\naction = \"drop\"\n",
        &[":15: filter.name = \"R 1\": not a rule's name; 1 to 64 small letters"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"drop\"\n[[filter]]\nname = \"r\"\naction = \"drop\"\n",
        &[":18: filter.name = \"r\": a second rule of this name; each name once"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\n",
        &[":14: filter.r.action: this key is missing; write action = \"drop\""],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"dorp\"\n",
        &[":16: filter.r.action = \"dorp\": unknown; did you mean \"drop\"?"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"route\"\n",
        &[":14: filter.r.to: this key is missing; write to = \"basic\""],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"route\"\nto = \"basic\"\n",
        &[
            ":17: filter.r.to = \"basic\": there is no destination of this name; the name of a section [destination.NAME], or \"sentinel\"",
        ],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"route\"\nto = \"bsic\"\n[destination.basic]\nrules = [\"dcr-00000000000000000000000000000001\"]\nstream = \"Custom-Basic\"\n",
        &[
            ":17: filter.r.to = \"bsic\": there is no destination of this name; one of basic, sentinel",
        ],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"drop\"\nwehn = []\n",
        &[":17: filter.r.wehn: unknown key; did you mean when?"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"drop\"\none_in = 3\n",
        &[":17: filter.r.one_in: unknown key; keys here are name, when, action"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"drop\"\nwhen = []\n",
        &[":17: filter.r.when = []: an empty list of conditions"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"drop\"\nwhen = { column = \"DeviceVendr\", equals = \"x\" }\n",
        &[
            ":17: filter.r.when.column = \"DeviceVendr\": unknown column; did you mean DeviceVendor?; a column of CommonSecurityLog",
        ],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"drop\"\nwhen = { column = \"src\", equals = \"x\" }\n",
        &[
            ":17: filter.r.when.column = \"src\": unknown column; key = \"src\", or its column, SourceIP",
        ],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"drop\"\nwhen = { column = \"TenantId\", equals = \"x\" }\n",
        &["filter.r.when.column = \"TenantId\": filled by the service, after cefline"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"drop\"\nwhen = { column = \"AdditionalExtensions\", contains = \"x\" }\n",
        &["looked at by its keys; key = \"NAME\""],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"drop\"\nwhen = { key = \"a b\", equals = \"x\" }\n",
        &["filter.r.when.key = \"a b\": can never match: not a key of CEF"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"drop\"\nwhen = { equals = \"x\" }\n",
        &[
            ":17: filter.r.when = { equals = \"x\" }: a condition on nothing; exactly one of column, key, peer, all, any, not",
        ],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"drop\"\nwhen = { column = \"Activity\", key = \"act\" }\n",
        &["column and key in one condition"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"drop\"\nwhen = { column = \"Activity\" }\n",
        &["no operator; one operator of equals, in, prefix"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"drop\"\nwhen = { column = \"Activity\", equal = \"x\" }\n",
        &["unknown operator equal; did you mean equals?"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"drop\"\nwhen = { column = \"Activity\", matches = \"x\" }\n",
        &["unknown operator matches; one operator of"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"drop\"\nwhen = { column = \"Activity\", equals = \"x\", prefix = \"y\" }\n",
        &["equals and prefix in one condition"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"drop\"\nwhen = { column = \"Activity\", equals = \"x\", ignorecase = true }\n",
        &["filter.r.when.ignorecase: unknown key; did you mean ignore_case?"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"drop\"\nwhen = { column = \"Activity\", in = [] }\n",
        &["filter.r.when.in = []: an empty list matches nothing; 1 to 256 values"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"drop\"\nwhen = { column = \"Activity\", equals = \"\" }\n",
        &["filter.r.when.equals = \"\": empty, and no row holds an empty value; exists = false"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"drop\"\nwhen = { column = \"Activity\", equals = true }\n",
        &["filter.r.when.equals = true: true or false, not text"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"drop\"\nwhen = { column = \"DestinationPort\", equals = \"https\" }\n",
        &["filter.r.when.equals = \"https\": not a number; a finite number without quotes"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"drop\"\nwhen = { column = \"DestinationPort\", equals = 3000000000 }\n",
        &["can never match: the column holds no such number; a whole number of 32 bits"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"drop\"\nwhen = { column = \"DestinationPort\", prefix = \"4\" }\n",
        &[
            "filter.r.when.prefix = \"4\": can never match: DestinationPort holds a number; use equals",
        ],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"drop\"\nwhen = { column = \"StartTime\", equals = \"x\" }\n",
        &["can never match: StartTime holds a time; use exists"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"drop\"\nwhen = { column = \"Activity\", cidr = \"10.0.0.0/8\" }\n",
        &["filter.r.when.cidr = \"10.0.0.0/8\": can never match: Activity holds no address"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"drop\"\nwhen = { column = \"SourceIP\", cidr = [\"10.0.0.0/8\", \"10.0.0.0/33\"] }\n",
        &["filter.r.when.cidr = \"10.0.0.0/33\": not a network"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"drop\"\nwhen = { peer = \"firewall\" }\n",
        &["filter.r.when.peer = \"firewall\": not a network"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"drop\"\nwhen = { column = \"LogSeverity\", at_least = 5, at_most = 4 }\n",
        &["can never match: at_least is above at_most"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"drop\"\nwhen = [{ column = \"LogSeverity\", at_least = 5 }, { column = \"LogSeverity\", at_most = 4 }]\n",
        &[":14: filter.r: can never match: the ranges of LogSeverity do not meet"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"drop\"\nwhen = [{ column = \"Activity\", equals = \"a\" }, { column = \"Activity\", in = [\"b\", \"c\"] }]\n",
        &[":14: filter.r: can never match: no value of Activity meets all that is asked of it"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"drop\"\nwhen = [{ column = \"Activity\", equals = \"a\" }, { column = \"Activity\", prefix = \"A\" }]\n",
        &["no value of Activity meets all"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"drop\"\nwhen = [{ column = \"Activity\", equals = \"a\" }, { column = \"Activity\", exists = false }]\n",
        &["no value of Activity meets all"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"drop\"\nwhen = [{ column = \"Activity\", prefix = \"a\" }, { not = { column = \"Activity\", prefix = \"a\" } }]\n",
        &["can never match: something is asked for and ruled out"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"all\"\naction = \"drop\"\n[[filter]]\nname = \"r\"\naction = \"drop\"\n",
        &[
            ":17: filter.r: can never match: filter.all drops every row before it; put it before that rule, or leave it out",
        ],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"a\"\naction = \"drop\"\nwhen = { column = \"Activity\", in = [\"x\", \"y\"] }\n[[filter]]\nname = \"r\"\naction = \"sample\"\none_in = 2\nwhen = [{ column = \"DeviceVendor\", equals = \"v\" }, { column = \"Activity\", equals = \"x\" }]\n",
        &[":18: filter.r: can never match: filter.a drops all such rows before it"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"sample\"\none_in = 1\n",
        &["filter.r.one_in = 1: out of range; a whole number from 2 to 1000000"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"rate_limit\"\n",
        &["filter.r.per_second: no rate, or two; exactly one of per_second and per_minute"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"rate_limit\"\nper_second = 0\n",
        &["filter.r.per_second = 0: out of range"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"deduplicate\"\nwindow = \"999 ms\"\nby = \"SourceIP\"\n",
        &[
            "filter.r.window = \"999 ms\": out of range; text like \"1 s\" (units ms, s, min, h), from 1 s to 1 h",
        ],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"deduplicate\"\nwindow = \"1 s\"\n",
        &["filter.r.by: nothing to tell rows apart by"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"remove\"\n",
        &["filter.r.columns: nothing to remove"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"remove\"\ncolumns = [\"DeviceVendor\"]\n",
        &["filter.r.columns = \"DeviceVendor\": needed by queries, which find rows by it"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"truncate\"\ncolumns = [\"SourcePort\"]\nbytes = 10\n",
        &["filter.r.columns = \"SourcePort\": not a column that can be cut"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"truncate\"\ncolumns = [\"Message\"]\nbytes = 0\n",
        &["filter.r.bytes = 0: out of range"],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"set\"\ncolumn = \"Site\"\nvalue = \"x\"\n",
        &[
            "filter.r.column = \"Site\": no name of a custom column; a letter, then letters, digits and _, up to 45, with _CF at the end",
        ],
    ),
    mistake(
        END,
        "[[filter]]\nname = \"r\"\naction = \"set\"\ncolumn = \"Site_CF\"\nvalue = \"a\\tb\"\n",
        &["filter.r.value = "],
    ),
    mistake(
        END,
        "[filter]\nname = \"r\"\n",
        &[":14: filter: one section, not a list of rules; write [[filter]] and its keys below"],
    ),
    // ---- clouds
    mistake(
        SECRET_FILE,
        "secret_file = \"/etc/cefline/client-secret\"\nauthority = \"https://login.microsoftonline.us\"",
        &[
            ":14: sentinel.identity.authority = \"https://login.microsoftonline.us\": a login host of the US Government cloud for an endpoint in the public cloud",
        ],
    ),
    mistake(
        SECRET_FILE,
        "secret_file = \"/etc/cefline/client-secret\"\nscope = \"https://monitor.azure.us/.default\"",
        &[
            ":14: sentinel.identity.scope = \"https://monitor.azure.us/.default\": not the scope of the public cloud; https://monitor.azure.com/.default, or any with endpoint_check = false",
        ],
    ),
    // ---- further destinations
    mistake(
        END,
        "[destination.basic]\nstream = \"Custom-Basic\"\n",
        &[":14: destination.basic.rules: this key is missing; write rules = "],
    ),
    mistake(
        END,
        "[destination.basic]\nrules = [\"dcr-00000000000000000000000000000001\"]\n",
        &[":14: destination.basic.stream: this key is missing; write stream = \"Custom-NAME\""],
    ),
    mistake(
        END,
        "[destination.Basic]\n",
        &[
            ":14: destination.Basic: not a destination's name; 1 to 32 lower-case letters, digits, _ or -, like [destination.basic]",
        ],
    ),
    mistake(
        END,
        "[destination.sentinel]\n",
        &[":14: destination.sentinel: the name of the destination in [sentinel]; another name"],
    ),
    mistake(
        END,
        "[destination.a23456789012345678901234567890123]\n",
        &[":14: destination.a23456789012345678901234567890123: not a destination's name"],
    ),
    mistake(
        END,
        "[destination]\nbasic = 5\n",
        &[
            ":15: destination.basic = 5: a whole number, not a section; write [destination.basic] and its keys below",
        ],
    ),
    mistake(
        END,
        "[destination.basic]\nrules = [\"dcr-0\"]\nstream = \"Custom-Basic\"\n",
        &[":15: destination.basic.rules = \"dcr-0\": 1 digits behind dcr-, not 32"],
    ),
    mistake(
        END,
        "[destination.basic]\nrules = [\"dcr-00000000000000000000000000000001\"]\nstream = \"Microsoft-Basic\"\n",
        &[":16: destination.basic.stream = \"Microsoft-Basic\": an output stream of the rule"],
    ),
    mistake(
        END,
        "[destination.basic]\nrules = [\"dcr-00000000000000000000000000000001\"]\nstream = \"Custom-Basic\"\nendpiont = \"https://a.ingest.monitor.azure.com\"\n",
        &[":17: destination.basic.endpiont: unknown key; did you mean endpoint?"],
    ),
    mistake(
        END,
        "[destination.basic]\nrules = [\"dcr-00000000000000000000000000000001\"]\nstream = \"Custom-Basic\"\nendpoint = \"https://a.ingest.monitor.azure.us\"\n",
        &[
            ":17: destination.basic.endpoint = \"https://a.ingest.monitor.azure.us\": in the US Government cloud, and sentinel.endpoint is not; the cloud of [sentinel], whose token is used, or endpoint_check = false",
        ],
    ),
    mistake(
        END,
        "[destination.basic]\nrules = [{ id = \"dcr-00000000000000000000000000000001\", endpoint = \"https://a.ingest.monitor.azure.cn\" }]\nstream = \"Custom-Basic\"\n",
        &[
            ":15: destination.basic.rules = ",
            "in the China cloud, and sentinel.endpoint is not",
        ],
    ),
    mistake(
        END,
        "[destination.a]\n[destination.b]\n[destination.c]\n[destination.d]\n[destination.e]\n[destination.f]\n[destination.g]\n[destination.h]\n",
        &["destination: 8 of them; at most 7 besides [sentinel]"],
    ),
    // ---- names
    mistake(
        TCP,
        "tpc = [\"0.0.0.0:514\"]\ntcp = [\"0.0.0.0:514\"]",
        &[":2: listen.tpc: unknown key; did you mean tcp?"],
    ),
    mistake(
        END,
        "[bacth]\nlinger = \"1 s\"\n",
        &[":14: bacth: unknown key; did you mean [batch]?"],
    ),
    mistake(
        END,
        "[output]\npath = \"/var\"\n",
        &[
            ":14: output: unknown key; sections are listen, map, filter, batch, sentinel, destination, spool, runtime, metrics, log, sandbox",
        ],
    ),
    mistake(
        END,
        "[spool]\npath = \"/var\"\n",
        &[":15: spool.path: unknown key; [spool] has the keys directory, durability, bytes_max"],
    ),
    mistake(
        END,
        "[spool]\ndirectory = \"spool\"\n",
        &[":15: spool.directory = \"spool\": "],
    ),
    mistake(
        END,
        "[spool]\ndurability = \"disk\"\n",
        &[":15: spool.durability = \"disk\": "],
    ),
    mistake(
        END,
        "[spool]\nbytes_max = \"511 MiB\"\n",
        &[":15: spool.bytes_max = \"511 MiB\": "],
    ),
    mistake(
        END,
        "[spool]\nwhen_full = \"drop\"\n",
        &[":15: spool.when_full = \"drop\": "],
    ),
    mistake(
        END,
        "[spool]\ndrain_share = 100\n",
        &[":15: spool.drain_share = 100: "],
    ),
    mistake(
        TCP,
        "tcp = [\"0.0.0.0:514\"]\nlinger = \"1 s\"",
        &[":3: listen.linger: unknown key; did you mean batch.linger, in the section [batch]?"],
    ),
    mistake(
        "[listen]",
        "level = \"info\"\n[listen]",
        &[":1: level: unknown key; did you mean log.level, in the section [log]?"],
    ),
    mistake(
        END,
        "[metrics]\nport = 9514\n",
        &[":15: metrics.port: unknown key; [metrics] has the keys listen"],
    ),
    mistake(
        CLIENT,
        "client_id = \"00000000-0000-0000-0000-000000000000\"\nclient_secret = \"canary~NOT.a-secret_8Q\"",
        &[":13: sentinel.identity.client_secret: unknown key; secrets are not written here"],
    ),
    mistake(
        "tcp = [",
        "tpc = [",
        &["cefline.toml:2: listen.tpc: unknown key; did you mean tcp?"],
    ),
    mistake(
        "[listen]",
        "[lisen]",
        &["cefline.toml:1: lisen: unknown key; did you mean [listen]?"],
    ),
    // ---- TOML
    mistake(
        TCP,
        "tcp = [\"0.0.0.0:514]",
        &[":2:21: tcp: not TOML: invalid basic string, expected `\"`"],
    ),
    mistake(
        TCP,
        "tcp = [\"0.0.0.0:514\"",
        &[
            ":4:1: not TOML: missing comma between array elements, expected `,`; or a list above lacks its ]",
        ],
    ),
    mistake(
        TCP,
        "tcp = [\"0.0.0.0:514\"]\ntcp = [\"0.0.0.0:515\"]",
        &[":3:1: tcp: a second time in one file; leave one of the two"],
    ),
    mistake(
        END,
        "[listen]\n",
        &[":14:2: listen: a second time in one file; leave one of the two"],
    ),
    mistake(
        END,
        "[batch]\nlinger = 1 s\n",
        &[
            ":15:10: linger: not TOML: a value is missing or is text without quotes; write text, \
           sizes and times in quotes",
        ],
    ),
    mistake(
        SECRET,
        "canary~NOT.a-secret_8Q",
        &[":13:15: secret_file: not TOML: a value is missing or is text without quotes"],
    ),
    mistake(
        TCP,
        "just a thought",
        &[":2:6: not TOML: key with no value, expected `=`"],
    ),
    // ---- what is missing
    mistake(
        "[listen]\ntcp = [\"0.0.0.0:514\"]\n",
        "",
        &["cefline.toml: listen: this section is missing; write [listen]"],
    ),
    mistake(
        TCP,
        "",
        &[":1: listen.tcp: this key is missing; write tcp = [\"0.0.0.0:514\"]"],
    ),
    mistake(
        "endpoint = \"https://NAME.REGION-1.ingest.monitor.azure.com\"",
        "",
        &[":4: sentinel.endpoint: this key is missing; write endpoint = \"https://NAME."],
    ),
    mistake(
        "rules = [\"dcr-00000000000000000000000000000000\"]",
        "",
        &[":4: sentinel.rules: this key is missing; write rules = [\"dcr-0000"],
    ),
    mistake(
        "kind = \"client_secret\"",
        "",
        &[":9: sentinel.identity.kind: this key is missing; write kind = \"client_secret\""],
    ),
    mistake(
        CLIENT,
        "",
        &[":9: sentinel.identity.client_id: this key is missing; write client_id = \"0123"],
    ),
    mistake(
        "secret_file = \"/etc/cefline/client-secret\"",
        "",
        &[":9: sentinel.identity.secret_file: this key is missing; write secret_file = \"/etc"],
    ),
    // ---- kinds of values
    mistake(
        TCP,
        "tcp = \"0.0.0.0:514\"",
        &[
            ":2: listen.tcp = \"0.0.0.0:514\": text, not a list; a list of 1 to 64 like [\"0.0.0.0:514\"]",
        ],
    ),
    mistake(
        TCP,
        "tcp = [514]",
        &[":2: listen.tcp = 514: a whole number, not text in quotes; IP:PORT like"],
    ),
    mistake(
        TCP,
        "tcp = [\"0.0.0.0:514\"]\nconnections_max = \"100\"",
        &[
            ":3: listen.connections_max = \"100\": text, not a number; a whole number from 1 to \
           1000000, without quotes",
        ],
    ),
    mistake(
        END,
        "[batch]\ngzip_level = 1.5\n",
        &[
            ":15: batch.gzip_level = 1.5: a number with a fraction, not a number; a whole number from 0 to 9",
        ],
    ),
    mistake(
        END,
        "[runtime]\npin = \"true\"\n",
        &[":15: runtime.pin = \"true\": text, not a switch; true or false, without quotes"],
    ),
    mistake(
        "[listen]",
        "batch = 1\n[listen]",
        &[":1: batch = 1: a whole number, not a section; write [batch]"],
    ),
    mistake(
        END,
        "[[log]]\nlevel = \"info\"\n",
        &[":14: log = [[log]]: a list, not a section; write [log]"],
    ),
    // ---- sizes, times, numbers
    mistake(
        END,
        "[batch]\nlinger = 1\n",
        &[
            ":15: batch.linger = 1: a number without unit: write \"1 s\" or \"1 ms\"; text like \"1 s\" \
           (units ms, s, min, h), from 10 ms to 1 min",
        ],
    ),
    mistake(
        END,
        "[batch]\nlinger = \"1 sec\"\n",
        &[":15: batch.linger = \"1 sec\": unknown unit \"sec\"; text like"],
    ),
    mistake(
        END,
        "[batch]\nlinger = \"1 h\"\n",
        &[
            ":15: batch.linger = \"1 h\": out of range; text like \"1 s\" (units ms, s, min, h), from 10 ms to 1 min",
        ],
    ),
    mistake(
        TCP,
        "tcp = [\"0.0.0.0:514\"]\nframe_bytes_max = \"64 K\"",
        &[
            ":3: listen.frame_bytes_max = \"64 K\": unknown unit \"K\"; a number of bytes or text like \"64 KiB\"",
        ],
    ),
    mistake(
        TCP,
        "tcp = [\"0.0.0.0:514\"]\nframe_bytes_max = 2047",
        &[
            ":3: listen.frame_bytes_max = 2047: out of range;",
            "from 2 KiB to 1 MiB",
        ],
    ),
    mistake(
        TCP,
        "tcp = [\"0.0.0.0:514\"]\nframe_bytes_max = \"2 MiB\"",
        &[
            ":3: listen.frame_bytes_max = \"2 MiB\": out of range;",
            "from 2 KiB to 1 MiB",
        ],
    ),
    mistake(
        TCP,
        "tcp = [\"0.0.0.0:514\"]\nconnections_max = 0",
        &[":3: listen.connections_max = 0: out of range; a whole number from 1 to 1000000"],
    ),
    mistake(
        END,
        "[batch]\ngzip_level = 10\n",
        &[":15: batch.gzip_level = 10: out of range; a whole number from 0 to 9"],
    ),
    mistake(
        END,
        "[batch]\nwire_bytes_max = -1\n",
        &[
            ":15: batch.wire_bytes_max = -1: out of range;",
            "from 64 KiB to 1 MiB",
        ],
    ),
    mistake(
        END,
        "[runtime]\nstop_time_max = \"2 h\"\n",
        &[
            ":15: runtime.stop_time_max = \"2 h\": out of range;",
            "from 0 ms to 1 h",
        ],
    ),
    // ---- words
    mistake(
        TCP,
        "tcp = [\"0.0.0.0:514\"]\nframing = \"octet-counting\"",
        &[
            ":3: listen.framing = \"octet-counting\": unknown; did you mean \"octet_counting\"?; one \
           of \"auto\", \"octet_counting\", \"delimited\"",
        ],
    ),
    mistake(
        TCP,
        "tcp = [\"0.0.0.0:514\"]\nio = \"io_uring\"",
        &[":3: listen.io = \"io_uring\": unknown; one of \"auto\", \"uring\", \"epoll\""],
    ),
    mistake(
        END,
        "[map]\ntime_generated = \"now\"\n",
        &[":15: map.time_generated = \"now\": unknown; one of \"received\", \"header\", \"rt\""],
    ),
    mistake(
        END,
        "[map]\ntime_zone = \"Europe/Berlni\"\n",
        &[
            ":15: map.time_zone = \"Europe/Berlni\": unknown zone; did you mean \"Europe/Berlin\"?; a zone like",
        ],
    ),
    mistake(
        END,
        "[map]\ntime_zone = \"+2\"\n",
        &[
            ":15: map.time_zone = \"+2\": not an offset; a zone like \"Europe/Berlin\" or \"UTC\", or an offset like \"+02:00\"",
        ],
    ),
    mistake(
        END,
        "[map]\ncollector_host_name = \" \"\n",
        &[":15: map.collector_host_name = \" \": empty; 1 to 255 bytes without control characters"],
    ),
    mistake(
        END,
        "[log]\nlevel = \"verbose\"\n",
        &[
            ":15: log.level = \"verbose\": unknown; one of \"error\", \"warn\", \"info\", \"debug\", \"trace\"",
        ],
    ),
    mistake(
        "kind = \"client_secret\"",
        "kind = \"system_identity\"\nresource = 1",
        &[
            ":10: sentinel.identity.kind = \"system_identity\": unknown; one of \"client_secret\", \"client_certificate\"",
        ],
    ),
    // ---- addresses
    mistake(
        TCP,
        "tcp = []",
        &[":2: listen.tcp = []: an empty list; a list of 1 to 64 like [\"0.0.0.0:514\"]"],
    ),
    mistake(
        TCP,
        "tcp = [\"0.0.0.0\"]",
        &[":2: listen.tcp = \"0.0.0.0\": no port; IP:PORT like \"0.0.0.0:514\""],
    ),
    mistake(
        TCP,
        "tcp = [\"0.0.0.0:0\"]",
        &[":2: listen.tcp = \"0.0.0.0:0\": port 0 is none that a sender could know; IP:PORT like"],
    ),
    mistake(
        TCP,
        "tcp = [\n  \"0.0.0.0:514\",\n  \"collector:514\",\n]",
        &[":4: listen.tcp = \"collector:514\": not an IP address before the port; IP:PORT like"],
    ),
    mistake(
        TCP,
        "tcp = [\"0.0.0.0:514\", \"0.0.0.0:514\"]",
        &[":2: listen.tcp = \"0.0.0.0:514\": 0.0.0.0:514 already takes these connections; each"],
    ),
    mistake(
        TCP,
        "tcp = [\"0.0.0.0:514\", \"127.0.0.1:514\"]",
        &[":2: listen.tcp = \"127.0.0.1:514\": 0.0.0.0:514 already takes these connections; each"],
    ),
    mistake(
        END,
        "[sandbox]\nmode = \"atuo\"\n",
        &[":15: sandbox.mode = \"atuo\": unknown; did you mean \"auto\"?"],
    ),
    mistake(
        END,
        "[sandbox]\nmode = true\n",
        &[":15: sandbox.mode = true: true or false, not text in quotes; one of \"auto\""],
    ),
    mistake(
        END,
        "[metrics]\nlisten = \"127.0.0.1\"\n",
        &[":15: metrics.listen = \"127.0.0.1\": no port; \"off\", or IP:PORT like"],
    ),
    mistake(
        END,
        "[metrics]\nlisten = \"127.0.0.1:514\"\n",
        &[":15: metrics.listen = \"127.0.0.1:514\": a port that listen.tcp uses; a port for each"],
    ),
    mistake(
        TCP,
        "tcp = [\"0.0.0.0:9514\"]",
        &[
            ":2: listen.tcp = [\"0.0.0.0:9514\"]: the port that metrics.listen has by default; a port for each",
        ],
    ),
    // ---- the destination
    mistake(
        ENDPOINT,
        "\"name.region-1.ingest.monitor.azure.com\"",
        &[
            ":5: sentinel.endpoint = \"name.region-1.ingest.monitor.azure.com\": not a URL: no https:// \
           in front; the base URL",
        ],
    ),
    mistake(
        ENDPOINT,
        "\"https://NAME.REGION-1.ingest.monitor.azure.com/dataCollectionRules/x\"",
        &[
            ":5: sentinel.endpoint = \"https://",
            "a URL with a path; only the part",
        ],
    ),
    mistake(
        ENDPOINT,
        "\"http://NAME.REGION-1.ingest.monitor.azure.com\"",
        &[
            ":5: sentinel.endpoint = \"http://NAME",
            "http would send tokens in the clear",
        ],
    ),
    mistake(
        ENDPOINT,
        "\"https://logs.example.com\"",
        &[
            ":5: sentinel.endpoint = \"https://logs.example.com\": a host outside of Azure Monitor; hosts \
           that end in .ingest.monitor.azure.com, .ingest.monitor.azure.us, .ingest.monitor.azure.cn, \
           loopback addresses, or any with endpoint_check = false",
        ],
    ),
    mistake(
        ENDPOINT,
        "\"https://user:canary~NOT.a-secret_8Q@a.ingest.monitor.azure.com\"",
        &[":5: sentinel.endpoint: a URL with a user name (value not shown); the base URL"],
    ),
    mistake(
        CLIENT,
        "client_id = \"00000000-0000-0000-0000-000000000000\"\nauthority = \"https://login.example.com\"",
        &[
            ":13: sentinel.identity.authority = \"https://login.example.com\": not a login host of \
           Microsoft's; login.microsoftonline.com, ",
        ],
    ),
    mistake(
        RULES,
        "[\"my-rule\"]",
        &[
            ":6: sentinel.rules = \"my-rule\": not an immutable id; the rule's immutableId (not its \
           name): dcr- and 32 hexadecimal digits",
        ],
    ),
    mistake(
        RULES,
        "[\"dcr-0000\"]",
        &[":6: sentinel.rules = \"dcr-0000\": 4 digits behind dcr-, not 32; the rule's"],
    ),
    mistake(
        RULES,
        "[\"dcr-0000000000000000000000000000000a\", \"dcr-0000000000000000000000000000000A\"]",
        &[
            ":6: sentinel.rules = \"dcr-0000000000000000000000000000000A\": a second time in this list; each rule once",
        ],
    ),
    mistake(
        "\"Custom-CommonSecurityLog\"",
        "\"Microsoft-CommonSecurityLog\"",
        &[
            ":7: sentinel.stream = \"Microsoft-CommonSecurityLog\": an output stream of the rule; the \
           rule's input stream: Custom- and",
        ],
    ),
    mistake(
        "\"Custom-CommonSecurityLog\"",
        "\"CommonSecurityLog\"",
        &[
            ":7: sentinel.stream = \"CommonSecurityLog\": not a stream's name; the rule's input stream",
        ],
    ),
    mistake(
        TENANT,
        "tenant_id = \"common\"",
        &[
            ":11: sentinel.identity.tenant_id = \"common\": neither a GUID nor a domain name; the directory",
        ],
    ),
    mistake(
        CLIENT,
        "client_id = \"cefline\"",
        &[
            ":12: sentinel.identity.client_id = \"cefline\": not a GUID; the application (client) id: a GUID like",
        ],
    ),
    mistake(
        CLIENT,
        "client_id = \"canary~NOT.a-secret_8Q\"",
        &[":12: sentinel.identity.client_id: not a GUID (value not shown); the application"],
    ),
    mistake(
        CLIENT,
        "client_id = \"00000000-0000-0000-0000-000000000000\"\nscope = \"https://monitor.azure.com\"",
        &[
            ":13: sentinel.identity.scope = \"https://monitor.azure.com\": not a scope; audience and /.default",
        ],
    ),
    // ---- files
    mistake(
        SECRET,
        "\"FOLDER/absent\"",
        &[
            ":13: sentinel.identity.secret_file = \"",
            "/absent\": there is no such file; a file that \
           holds only the secret's value",
        ],
    ),
    mistake(
        SECRET,
        "\"client-secret\"",
        &[
            ":13: sentinel.identity.secret_file = \"client-secret\": not an absolute path; the absolute path",
        ],
    ),
    mistake(
        SECRET,
        "\"canary~NOT.a-secret_8Q\"",
        &[
            ":13: sentinel.identity.secret_file: not an absolute path (value not shown); the absolute path",
        ],
    ),
    mistake(
        SECRET,
        "\"FOLDER\"",
        &[
            ":13: sentinel.identity.secret_file = \"",
            "\": not a regular file; a file that",
        ],
    ),
    mistake(
        "stream =",
        "ca_file = \"FOLDER/absent.pem\"\nstream =",
        &[
            ":7: sentinel.ca_file = \"",
            "/absent.pem\": there is no such file; a file of certificates in PEM form",
        ],
    ),
    mistake(
        "stream =",
        "ca_file = \"FOLDER/cefline.toml\"\nstream =",
        &[
            ":7: sentinel.ca_file = \"",
            "no certificate in it; a file of certificates in PEM form",
        ],
    ),
    // ---- cores and memory
    mistake(
        END,
        "[runtime]\ningest_cores = 0\n",
        &[
            ":15: runtime.ingest_cores = 0: nothing would run; \"auto\", or a number from 1 to 4 without quotes",
        ],
    ),
    mistake(
        END,
        "[runtime]\nupload_cores = 5\n",
        &[
            ":15: runtime.upload_cores = 5: more than the 4 cores that this process may use; \"auto\", or",
        ],
    ),
    mistake(
        END,
        "[runtime]\nupload_cores = \"all\"\n",
        &[
            ":15: runtime.upload_cores = \"all\": text, not a number of cores; \"auto\", or a number",
        ],
    ),
    mistake(
        END,
        "[runtime]\npages_bytes_max = \"1 MiB\"\n",
        &[
            ":15: runtime.pages_bytes_max = \"1 MiB\": out of range;",
            "from 4 MiB to 64 GiB",
        ],
    ),
    mistake(
        END,
        "[runtime]\npages_bytes_max = \"4 MiB\"\ningest_cores = 4\n",
        &[
            ":15: runtime.pages_bytes_max = \"4 MiB\": too little for 5 cores; at least 4800 KiB (6 pages \
           of 160 KiB for each core), or fewer cores",
        ],
    ),
    // ---- between keys
    mistake(
        TCP,
        "tcp = [\"0.0.0.0:514\"]\npartial_bytes_max = \"32 KiB\"",
        &[
            ":3: listen.partial_bytes_max = \"32 KiB\": less than one frame of the greatest length; at \
           least listen.frame_bytes_max, which is 64 KiB",
        ],
    ),
    mistake(
        END,
        "[batch]\nraw_bytes_max = \"64 KiB\"\n",
        &[
            ":15: batch.raw_bytes_max = \"64 KiB\": does not hold the row of one frame of 64 KiB; at least \
           128 KiB, or a lower listen.frame_bytes_max",
        ],
    ),
];

fn mistaken(mistake: &Mistake) -> String {
    if mistake.from == END {
        return format!("{SMALLEST}{}", mistake.to);
    }
    assert_eq!(
        SMALLEST.matches(mistake.from).count(),
        1,
        "{}",
        mistake.from
    );
    SMALLEST.replace(mistake.from, mistake.to)
}

#[test]
fn every_mistake_gets_one_message_that_names_it() {
    let folder = Folder::new();
    let file = folder.0.path().join("cefline.toml").display().to_string();
    let mut failures = Vec::new();
    for mistake in MISTAKES {
        let message = match folder.read(&mistaken(mistake)) {
            Ok(_) => "nothing is wrong".to_owned(),
            Err(message) => message,
        };
        let good = message.lines().count() == 1
            && message.starts_with(&file)
            && mistake.says.iter().all(|said| message.contains(said))
            && !message.contains("canary~")
            && !message.ends_with('.');
        if !good {
            failures.push(format!("{:?}\nis not\n{message}\n", mistake.says));
        }
    }
    assert!(MISTAKES.len() >= 30);
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn all_mistakes_of_a_file_are_told_in_its_order() {
    let folder = Folder::new();
    let mut text = SMALLEST.to_owned();
    for (from, to) in [
        ("\"0.0.0.0:514\"", "\"0.0.0.0\""),
        ("https://", "http://"),
        ("stream =", "steram ="),
        ("/etc/cefline/client-secret", "FOLDER/absent"),
    ] {
        text = text.replace(from, to);
    }
    text.push_str("[runtime]\ningest_cores = 0\n");
    let message = folder.read(&text).unwrap_err();
    let lines: Vec<&str> = message.lines().collect();
    let keys = [
        ":2: listen.tcp = ",
        ":5: sentinel.endpoint = ",
        ":7: sentinel.steram: unknown key; did you mean stream?",
        ":13: sentinel.identity.secret_file = ",
        ":15: runtime.ingest_cores = ",
    ];
    assert_eq!(lines.len(), keys.len(), "{message}");
    for (line, key) in lines.iter().zip(keys) {
        assert!(line.contains(key), "{line}");
    }
}

#[test]
fn bad_contents_of_the_secret_file_are_told_and_never_shown() {
    for (bytes, says) in [
        (&b""[..], "empty"),
        (b" \n", "empty"),
        (b"canary~1\ncanary~2", "more than one line"),
        (b"canary~\xff", "not text"),
        (&[b'c'; 4097], "larger than 4 KiB"),
    ] {
        let folder = Folder::new();
        folder.file("secret", bytes, 0o600);
        let message = folder.read(SMALLEST).unwrap_err();
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(
            message.contains(":13: sentinel.identity.secret_file = \""),
            "{message}"
        );
        assert!(message.contains(says), "{message}");
        assert!(!message.contains("canary"), "{message}");
    }
    let folder = Folder::new();
    folder.file("secret", &[b'c'; 4096], 0o600);
    assert!(folder.read(SMALLEST).is_ok());
}

#[test]
fn a_secret_that_may_not_be_read_says_so() {
    let folder = Folder::new();
    let path = folder.file("secret", CANARY.as_bytes(), 0o000);
    if fs::read(&path).is_ok() {
        // root reads everything; `config::files` tests the message itself
        skip::skipped("this user may read files of mode 000");
        return;
    }
    let message = folder.read(SMALLEST).unwrap_err();
    assert!(
        message.contains(":13: sentinel.identity.secret_file = \""),
        "{message}"
    );
    assert!(message.contains("may not read it"), "{message}");
}

#[test]
fn a_file_that_is_no_configuration_says_why() {
    let folder = Folder::new();
    let read = |name: &str| {
        let error = Config::read(&folder.0.path().join(name)).unwrap_err();
        assert_eq!(error.findings().len(), 1);
        error.to_string()
    };
    assert!(read("absent").contains("absent: there is no such file; `cefline config`"));
    folder.file("bytes", b"[listen]\n\xff", 0o600);
    assert!(read("bytes").contains("bytes:2: not UTF-8"));
    folder.file("large", &vec![b'\n'; 1_048_577], 0o600);
    assert!(read("large").contains("large: larger than 1 MiB"));
    assert!(read("").contains("not a regular file"));
    folder.file("nothing", b"", 0o600);
    let error = Config::read(&folder.0.path().join("nothing")).unwrap_err();
    let keys: Vec<&str> = error
        .findings()
        .iter()
        .map(|finding| finding.key.as_str())
        .collect();
    assert_eq!(keys, ["listen", "sentinel"]);
}

#[test]
fn the_smallest_configuration_is_accepted_as_it_stands() {
    let config = config::parse(SMALLEST, &machine()).unwrap();
    assert_eq!(config.listen.tcp, ["0.0.0.0:514".parse().unwrap()]);
    assert_eq!(config.listen.framing, FramingChoice::Auto);
    assert_eq!(config.batch.linger, Duration::from_secs(1));
    assert_eq!(config.map.collector_host_name, "collector");
    assert_eq!(
        (config.runtime.ingest_cores, config.runtime.upload_cores),
        (2, 2)
    );
    assert!(config.runtime.pin);
    let identity = &config.sentinel.identity;
    assert_eq!(
        identity.authority().unwrap().as_str(),
        "https://login.microsoftonline.com"
    );
    assert_eq!(identity.scope(), "https://monitor.azure.com/.default");

    let folder = Folder::new();
    let loaded = folder.read(SMALLEST).unwrap();
    let warned: Vec<&str> = loaded
        .warnings
        .iter()
        .map(|warning| warning.key.as_str())
        .collect();
    let placeholders = [
        "sentinel.rules",
        "sentinel.identity.tenant_id",
        "sentinel.identity.client_id",
    ];
    assert_eq!(warned, placeholders);
    let crlf = format!("\u{feff}{}", SMALLEST.replace('\n', "\r\n"));
    assert_eq!(folder.read(&crlf).unwrap().config, loaded.config);
    let reference = REFERENCE.replace("stream = ", "#stream = ");
    assert_eq!(folder.read(&reference).unwrap().config, loaded.config);
}

#[test]
fn the_endpoint_says_which_cloud_gives_the_token() {
    for (suffix, authority, scope) in [
        (
            "us",
            "https://login.microsoftonline.us",
            "https://monitor.azure.us/.default",
        ),
        (
            "cn",
            "https://login.chinacloudapi.cn",
            "https://monitor.azure.cn/.default",
        ),
    ] {
        let text = SMALLEST.replace("azure.com\"", &format!("azure.{suffix}\""));
        let config = config::parse(&text, &machine()).unwrap();
        let identity = &config.sentinel.identity;
        assert_eq!(identity.authority().unwrap().as_str(), authority);
        assert_eq!(identity.scope(), scope);
    }
}

#[test]
fn a_rehearsal_on_loopback_is_accepted_without_warnings() {
    let folder = Folder::new();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    folder.file("ca.pem", made.cert.pem().as_bytes(), 0o644);
    let rehearsal = |scheme: &str| {
        SMALLEST
            .replace(
                "https://NAME.REGION-1.ingest.monitor.azure.com",
                &format!("{scheme}://127.0.0.1:8443"),
            )
            .replace("00000", "12345")
            .replace("stream =", "ca_file = \"FOLDER/ca.pem\"\nstream =")
            + &format!("authority = \"{scheme}://127.0.0.1:8443\"\n")
    };
    for scheme in ["http", "https"] {
        let loaded = folder.read(&rehearsal(scheme)).unwrap();
        assert_eq!(loaded.warnings, []);
    }
}

#[test]
fn what_is_legal_but_perhaps_not_meant_is_warned_of() {
    for (from, to, key, says) in [
        (
            END,
            "[metrics]\nlisten = \"0.0.0.0:9514\"\n",
            ":15: metrics.listen = \"0.0.0.0:9514\"",
            "beyond this machine",
        ),
        (
            END,
            "[batch]\nraw_bytes_max = \"8 MiB\"\n",
            ":15: batch.raw_bytes_max = \"8 MiB\"",
            "above 1048576 B",
        ),
        (
            END,
            "[runtime]\nupload_cores = 4\n",
            ":15: runtime.upload_cores = 4",
            "5 threads for ingest and upload on 4 cores",
        ),
        (
            ENDPOINT,
            "\"https://127.0.0.1:1\"",
            "sentinel.identity.authority: ",
            "rows go to 127.0.0.1, but tokens are asked of login.microsoftonline.com",
        ),
        (
            ENDPOINT,
            "\"https://relay.example\"\nendpoint_check = false",
            ":5: sentinel.endpoint = ",
            "not known to be Azure's",
        ),
    ] {
        let folder = Folder::new();
        let text = mistaken(&Mistake {
            from,
            to,
            says: &[],
        });
        let loaded = folder.read(&text).unwrap();
        let file = Path::new("f");
        let found = loaded
            .warnings_in(file)
            .any(|line| line.contains(key) && line.contains(says));
        let all: Vec<String> = loaded.warnings_in(file).collect();
        assert!(found, "{says:?} is not in\n{}", all.join("\n"));
    }
    let folder = Folder::new();
    folder.file("secret", CANARY.as_bytes(), 0o644);
    let loaded = folder.read(SMALLEST).unwrap();
    let readable =
        |line: &String| line.contains("any user of this machine") && line.contains("mode 644");
    assert!(
        loaded
            .warnings_in(Path::new("f"))
            .any(|line| readable(&line))
    );
}

#[test]
fn threads_share_cores_where_they_must() {
    let of = |cores_count: usize, cores_quota| {
        let machine = Machine {
            cores: (0..cores_count).collect(),
            cores_quota,
            host_name: "collector".into(),
        };
        let runtime = config::parse(SMALLEST, &machine).unwrap().runtime;
        (runtime.ingest_cores, runtime.upload_cores, runtime.pin)
    };
    assert_eq!(of(1, None), (1, 1, false));
    assert_eq!(of(2, None), (1, 1, true));
    assert_eq!(of(4, None), (2, 2, true));
    assert_eq!(of(8, None), (4, 4, true));
    assert_eq!(of(64, Some(2)), (1, 1, false));
    let (ingest, upload, pin) = of(512, None);
    assert_eq!((ingest, upload, pin), (256, 256, true));
}

#[test]
fn a_machine_without_a_name_must_be_given_one() {
    let nameless = Machine {
        host_name: String::new(),
        ..machine()
    };
    let error = config::parse(SMALLEST, &nameless).unwrap_err().to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(
        error.contains("map.collector_host_name: this key is missing"),
        "{error}"
    );
    let named = format!("{SMALLEST}[map]\ncollector_host_name = \"c\"\n");
    assert!(config::parse(&named, &nameless).is_ok());
}

#[test]
fn unknown_keys_are_found_in_every_section() {
    for header in REFERENCE.lines().filter(|line| line.starts_with('[')) {
        let text = REFERENCE.replace(
            &format!("\n{header}\n"),
            &format!("\n{header}\nxyzzy = 1\n"),
        );
        let error = config::parse(&text, &machine()).unwrap_err();
        let keys: Vec<&str> = error
            .findings()
            .iter()
            .map(|found| found.key.as_str())
            .collect();
        assert_eq!(keys, [format!("{}.xyzzy", header.trim_matches(['[', ']']))]);
    }
}

#[test]
fn a_wrong_value_is_not_reported_again_for_what_hangs_on_it() {
    let folder = Folder::new();
    // the default of frame_bytes_max, which stands in for the wrong one, is above 32 KiB
    let more = "frame_bytes_max = \"16 K\"\npartial_bytes_max = \"32 KiB\"";
    let text = SMALLEST.replace(TCP, &format!("{TCP}\n{more}"));
    let message = folder.read(&text).unwrap_err();
    assert_eq!(message.lines().count(), 1, "{message}");
    let good = SMALLEST.replace(TCP, &format!("{TCP}\n{}", more.replace("16 K", "16 KiB")));
    assert!(folder.read(&good).is_ok());
}

/// No text makes the reader panic, whatever is cut out of or put into a good one.
#[test]
fn broken_texts_are_refused_and_never_panic() {
    for opening in ["a = [", "a = {b = ", "[", "a."] {
        let deep = opening.replace("a = ", "").repeat(100_000);
        assert!(config::parse(&format!("a = {deep}"), &machine()).is_err());
    }
    let seed = 20_261_107;
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let pieces = [
        "[", "]", "\"", "=", "\n", "#", ".", "{", "}", "0", "é", "\0", "[x]", "''", "1 s",
    ];
    for _ in 0..2_000 {
        let mut text: Vec<char> = REFERENCE.chars().filter(|c| *c != '#').collect();
        if random.bool() {
            text = SMALLEST.chars().collect();
        }
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..text.len());
            let end = (at + random.usize(..8)).min(text.len());
            let piece = pieces[random.usize(..pieces.len())];
            text.splice(at..end, piece.chars());
        }
        let text: String = text.into_iter().collect();
        if let Err(error) = config::parse(&text, &machine()) {
            let shown = error.to_string();
            assert_eq!(shown.lines().count(), error.findings().len(), "{shown}");
        }
    }
}

#[test]
fn without_the_check_a_login_host_and_a_scope_of_another_cloud_are_only_warned_of() {
    let folder = Folder::new();
    for (line, says) in [
        (
            "authority = \"https://login.microsoftonline.us\"",
            "US Government",
        ),
        (
            "scope = \"https://monitor.azure.us/.default\"",
            "not the scope of the public cloud",
        ),
    ] {
        let text = SMALLEST.replace("stream =", "endpoint_check = false\nstream =");
        let loaded = folder.read(&format!("{text}{line}\n")).unwrap();
        let all: Vec<String> = loaded.warnings_in(Path::new("f")).collect();
        assert!(all.iter().any(|line| line.contains(says)), "{all:?}");
    }
}

#[test]
fn further_destinations_have_the_endpoint_of_the_first_and_are_warned_of() {
    let folder = Folder::new();
    let text = SMALLEST
        .replace(
            "https://NAME.REGION-1.ingest",
            "https://a.westeurope-1.ingest",
        )
        .replace(
            "dcr-00000000000000000000000000000000",
            "dcr-00000000000000000000000000000001",
        );
    let text = format!(
        "{text}[destination.basic]
rules = [\"dcr-00000000000000000000000000000001\"]
stream = \"Custom-Basic\"

[spool]
durability = \"memory\"
"
    );
    let loaded = folder.read(&text).unwrap();
    let config = &loaded.config;
    let targets: Vec<_> = config.targets().collect();
    assert_eq!(targets.len(), 2);
    assert_eq!(targets[0].name, "sentinel");
    assert_eq!(targets[1].stream.as_str(), "Custom-Basic");
    assert_eq!(targets[1].endpoint, targets[0].endpoint);
    let all: Vec<String> = loaded.warnings_in(Path::new("f")).collect();
    for says in [
        "f:15: destination.basic.rules = [\"dcr-00000000000000000000000000000001\"]: \
         dcr-00000000000000000000000000000001 is one of sentinel too",
        "no rows are sent there",
        "f:19: spool.durability = \"memory\": without a spool a destination that takes no rows stops \
         all others",
    ] {
        assert!(
            all.iter().any(|line| line.contains(says)),
            "{says}: {all:#?}"
        );
    }
    let rule = "[[filter]]\nname = \"r\"\naction = \"route\"\nto = \"basic\"\n";
    let routed = folder.read(&format!("{text}{rule}")).unwrap();
    let mut all = routed.warnings_in(Path::new("f"));
    assert!(!all.any(|line| line.contains("no rows are sent there")));
    let mut without = config.clone();
    without.destinations.clear();
    let bodies = |config: &Config| config.memory_bytes_max()[3].1;
    assert_eq!(bodies(config), 2 * bodies(&without));
}
