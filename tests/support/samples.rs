//! Reads `tests/samples/*.toml`; their form is told at the head of `tests/samples.rs`.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// One message and what must come of it.
#[derive(Debug)]
pub(crate) struct Sample {
    /// Its file, without folder and ending.
    pub(crate) file: String,
    pub(crate) name: String,
    pub(crate) frame: Vec<u8>,
    pub(crate) pri: Option<u8>,
    pub(crate) time: Option<String>,
    pub(crate) header: Option<Vec<String>>,
    pub(crate) unparsed: Option<String>,
    /// Product, id, level and activity.
    pub(crate) cisco: Option<[String; 4]>,
    pub(crate) extensions: BTreeMap<String, String>,
    pub(crate) row: BTreeMap<String, Value>,
}

#[derive(serde::Deserialize)]
struct File {
    sample: Vec<Written>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    raw: Option<String>,
    bytes: Option<String>,
    pri: Option<u8>,
    time: Option<String>,
    header: Option<Vec<String>>,
    unparsed: Option<String>,
    cisco: Option<[String; 4]>,
    #[serde(default)]
    extensions: BTreeMap<String, String>,
    #[serde(default)]
    row: BTreeMap<String, Value>,
}

/// All samples, by file and in the order of the file.
pub(crate) fn all() -> Vec<Sample> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let mut samples = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let file: File = match toml::from_str(&text) {
            Ok(file) => file,
            Err(error) => panic!("{}: {error}", path.display()),
        };
        let name = path.file_stem().unwrap().to_str().unwrap();
        samples.extend(file.sample.into_iter().map(|sample| sample.read(name)));
    }
    samples
}

impl Written {
    fn read(self, file: &str) -> Sample {
        let frame = match (self.raw, self.bytes) {
            (Some(raw), None) => raw.into_bytes(),
            (None, Some(bytes)) => from_hex_escapes(&bytes),
            _ => panic!("{}: either raw or bytes", self.name),
        };
        Sample {
            file: file.into(),
            name: self.name,
            frame,
            pri: self.pri,
            time: self.time,
            header: self.header,
            unparsed: self.unparsed,
            cisco: self.cisco,
            extensions: self.extensions,
            row: self.row,
        }
    }
}

/// `\xHH` as the byte that it stands for.
fn from_hex_escapes(text: &str) -> Vec<u8> {
    let mut pieces = text.split("\\x");
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let (hex, rest) = piece.split_at(2);
        bytes.push(u8::from_str_radix(hex, 16).unwrap());
        bytes.extend_from_slice(rest.as_bytes());
    }
    bytes
}
