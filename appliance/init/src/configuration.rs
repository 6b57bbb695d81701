//! Finds the configuration and takes it in: the first of
//!
//! 1. a disk whose file system is labelled `CONFIG` or `cidata` ([`volume`]),
//! 2. the user data of an Azure machine,
//! 3. an OEM string of the SMBIOS tables, `cefline.config=BASE64`,
//! 4. what is built in, which has no destination.
//!
//! A disk is mounted only to be read, its files are copied to [`FOLDER`], and it is unmounted again.
//! The other ways bring one document: a cefline.toml, or a table `[files]` of name = "text".

pub mod opening;
pub mod volume;

use crate::mounts::{self, CEFLINE};
use crate::smbios;
use rustix::fs::{Mode, OFlags, open};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use toml::Value;
use volume::Volume;

/// Where cefline finds its files.
pub const FOLDER: &str = "/etc/cefline";
/// cefline's own.
pub const CEFLINE_TOML: &str = "cefline.toml";
/// Ours.
pub const APPLIANCE_TOML: &str = "appliance.toml";
/// A new version of the whole system.
const UPDATE: &str = "update.efi";

/// Files that are taken in: secrets and certificates are a handful.
const FILES_MOST: usize = 64;
/// Bytes of each: the largest is a bundle of authorities, of 250 KB.
const FILE_BYTES_MOST: u64 = 1024 * 1024;
/// Bytes of a name.
const NAME_BYTES_MOST: usize = 100;
/// Entries of a disk's root that are looked at.
const ENTRIES_MOST: usize = 1024;

/// Files left out that are named.
const LEFT_OUT_MOST: usize = 10;

const MOUNTED_AT: &str = "/run/configuration";
const SMBIOS_TABLES: &str = "/sys/firmware/dmi/tables/DMI";
const SMBIOS_PREFIX: &str = "cefline.config=";
const BUILT_IN: &str = "/etc/appliance/cefline.toml";

/// Where a configuration comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A disk.
    Disk(Volume),
    /// The user data of Azure.
    Azure,
    /// A string of SMBIOS.
    Smbios,
    /// The image.
    BuiltIn,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Disk(volume) => write!(f, "DISK: {volume}"),
            Source::Azure => f.write_str("AZURE: user data"),
            Source::Smbios => f.write_str("SMBIOS: OEM string"),
            Source::BuiltIn => f.write_str("built-in: no configuration"),
        }
    }
}

/// What was found.
#[derive(Debug)]
pub struct Configuration {
    /// Where.
    pub source: Source,
    /// Names are plain, and there are not too many, nor are they too long.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What was left out, and why.
    left_out: Vec<String>,
}

/// An update on a disk, which is mounted for as long as this lives.
#[derive(Debug)]
pub struct Update(PathBuf);

impl Update {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.0.join(UPDATE)
    }
}

impl Drop for Update {
    fn drop(&mut self) {
        // what is read-only has nothing to lose
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// A configuration that is there and cannot be used.
#[derive(Debug)]
pub struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl Configuration {
    fn of(source: Source) -> Self {
        Configuration {
            source,
            files: BTreeMap::new(),
            left_out: Vec::new(),
        }
    }

    /// A file as text; empty if there is none.
    ///
    /// # Errors
    /// It is no text.
    pub fn text(&self, name: &str) -> Result<&str, Error> {
        let bytes = self.files.get(name).map_or(&[][..], Vec::as_slice);
        std::str::from_utf8(bytes).map_err(|_| Error(format!("{name} is not UTF-8 text")))
    }

    /// What was left out, and why: a few lines, for the console has other lines as well.
    #[must_use]
    pub fn left_out(&self) -> Vec<String> {
        let named = self.left_out.iter().take(LEFT_OUT_MOST).cloned();
        let more = self.left_out.len().saturating_sub(LEFT_OUT_MOST);
        let rest = (more > 0).then(|| format!("and {more} more"));
        named.chain(rest).collect()
    }

    /// Writes all files where cefline finds them, for its eyes only.
    ///
    /// # Errors
    /// One cannot be written.
    pub fn install(&self) -> Result<(), Error> {
        for (name, bytes) in &self.files {
            let path = Path::new(FOLDER).join(name);
            write_for_cefline(&path, bytes)
                .map_err(|error| Error(format!("{} cannot be written: {error}", path.display())))?;
        }
        Ok(())
    }
}

fn write_for_cefline(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    fchown(&file, Some(CEFLINE), Some(CEFLINE))
}

// ---- 1: a disk

/// The configuration of the first disk that is labelled for us and has one, and the update of the
/// first that has one, which may be another. What cannot be read is told.
pub fn from_disks(tell: &mut dyn FnMut(Error)) -> (Option<Configuration>, Option<Update>) {
    let (mut configuration, mut update) = (None, None);
    for volume in block_devices().iter().filter_map(|device| labelled(device)) {
        let name = volume.to_string();
        match from_volume(volume) {
            Ok((None, None)) => tell(Error(format!(
                "{name} has none of {CEFLINE_TOML}, {APPLIANCE_TOML} and {UPDATE} in its root"
            ))),
            Ok((found, new)) => {
                configuration = configuration.or(found);
                update = update.or(new);
            }
            Err(error) => tell(Error(format!("{name} cannot be read: {error}"))),
        }
    }
    (configuration, update)
}

/// Names of disks and their parts, in order.
#[must_use]
pub fn block_devices() -> Vec<String> {
    // memory that poses as a disk, and floppy drives, which are slow and loud
    const NOT_DISKS: [&str; 5] = ["ram", "loop", "zram", "nbd", "fd"];
    let entries = fs::read_dir("/sys/class/block")
        .into_iter()
        .flatten()
        .flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let is_disk = |name: &String| !NOT_DISKS.iter().any(|kind| name.starts_with(kind));
    let mut names: Vec<String> = names.filter(is_disk).collect();
    names.sort();
    names
}

fn labelled(device: &str) -> Option<Volume> {
    let disk = File::open(Path::new("/dev").join(device)).ok()?;
    let read = |offset, buffer: &mut [u8]| disk.read_exact_at(buffer, offset).ok();
    let volume = volume::identify(device, &read)?;
    volume.is_for_us().then_some(volume)
}

fn from_volume(volume: Volume) -> io::Result<(Option<Configuration>, Option<Update>)> {
    let folder = Path::new(MOUNTED_AT).join(&volume.device);
    let mut builder = DirBuilder::new();
    builder.mode(0o700).recursive(true).create(&folder)?;
    // no link of a stranger's disk leads to a file of ours
    let flags = mounts::DATA | MountFlags::RDONLY | MountFlags::NOSYMFOLLOW;
    let device = Path::new("/dev").join(&volume.device);
    mount(&*device, &*folder, volume.kind.name(), flags, None)?;
    let mounted = Update(folder);
    let mut configuration = Configuration::of(Source::Disk(volume));
    take_in(&mounted.0, &mut configuration)?;
    let has = |name: &&str| configuration.files.contains_key(*name);
    let is_one = [CEFLINE_TOML, APPLIANCE_TOML].iter().any(has);
    let has_update = mounted.path().is_file();
    Ok((
        is_one.then_some(configuration),
        has_update.then_some(mounted),
    ))
}

/// Takes in the regular files of a folder, within the bounds.
fn take_in(folder: &Path, configuration: &mut Configuration) -> io::Result<()> {
    let entries = fs::read_dir(folder)?.take(ENTRIES_MOST);
    let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
    let mut names = names.collect::<Result<Vec<_>, _>>()?;
    names.sort();
    for name in names {
        let path = folder.join(&name);
        // neither followed nor waited for
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = open(&path, flags, Mode::empty()).map(File::from) else {
            continue;
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() || name == UPDATE {
            continue;
        }
        let Some(name) = name.to_str().filter(|name| is_plain(name)) else {
            let what = "a name may have letters, digits, . _ and -";
            configuration.left_out.push(format!("{name:?}: {what}"));
            continue;
        };
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MOST + 1).read_to_end(&mut bytes)?;
        configuration.add(name, bytes);
    }
    Ok(())
}

impl Configuration {
    /// Adds a file, or notes why not.
    fn add(&mut self, name: &str, bytes: Vec<u8>) {
        if bytes.len() as u64 > FILE_BYTES_MOST {
            let what = format!("{name}: longer than {FILE_BYTES_MOST} bytes");
            self.left_out.push(what);
        } else if self.files.len() == FILES_MOST {
            let what = format!("{name}: more than {FILES_MOST} files");
            self.left_out.push(what);
        } else {
            self.files.insert(name.to_owned(), bytes);
        }
    }
}

/// Fit for the name of a file, and for a line of the console.
fn is_plain(name: &str) -> bool {
    (1..=NAME_BYTES_MOST).contains(&name.len())
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

// ---- 2 and 3: a document

/// What a document holds that came by Azure or SMBIOS.
///
/// # Errors
/// It is no TOML, or its files have names that are not allowed.
pub fn from_document(source: Source, document: &[u8]) -> Result<Configuration, Error> {
    let wrong = |what: &str| Error(format!("configuration from {source}: {what}"));
    let text = std::str::from_utf8(document).map_err(|_| wrong("not UTF-8 text"))?;
    let table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| wrong(&error.message().replace('\n', " ")))?;
    let mut configuration = Configuration::of(source.clone());
    match table.get("files") {
        Some(Value::Table(files)) if table.len() == 1 => {
            for (name, text) in files {
                let allowed =
                    "files has NAME = \"text\", and a name may have letters, digits, . _ and -";
                let text = text.as_str().filter(|_| is_plain(name));
                let text = text.ok_or_else(|| wrong(&format!("files.{name:?}: {allowed}")))?;
                configuration.add(name, text.as_bytes().to_vec());
            }
        }
        _ => configuration.add(CEFLINE_TOML, document.to_vec()),
    }
    Ok(configuration)
}

/// What the hypervisor has put into the SMBIOS tables.
///
/// # Errors
/// There is something that cannot be used.
pub fn from_smbios() -> Result<Option<Configuration>, Error> {
    let tables = fs::read(SMBIOS_TABLES).unwrap_or_default();
    let mut strings = smbios::oem_strings(&tables).into_iter();
    let Some(text) = strings.find_map(|text| text.strip_prefix(SMBIOS_PREFIX)) else {
        return Ok(None);
    };
    let wrong = || {
        Error(format!(
            "{SMBIOS_PREFIX} in SMBIOS is not followed by base64"
        ))
    };
    let document = smbios::from_base64(text).ok_or_else(wrong)?;
    from_document(Source::Smbios, &document).map(Some)
}

// ---- 4: the image

/// What is built in.
#[must_use]
pub fn built_in() -> Configuration {
    let mut configuration = Configuration::of(Source::BuiltIn);
    if let Ok(bytes) = fs::read(BUILT_IN) {
        configuration.add(CEFLINE_TOML, bytes);
    }
    configuration
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::symlink;

    fn taken_from(folder: &Path) -> Configuration {
        let mut configuration = Configuration::of(Source::BuiltIn);
        take_in(folder, &mut configuration).unwrap();
        configuration
    }

    #[test]
    fn plain_files_of_the_root_are_taken_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in [CEFLINE_TOML, "client-secret", UPDATE, ".hidden", "a b"] {
            fs::write(at(name), name).unwrap();
        }
        fs::create_dir(at("folder")).unwrap();
        symlink("/etc/passwd", at("link")).unwrap();
        let configuration = taken_from(folder.path());
        let names: Vec<&str> = configuration.files.keys().map(String::as_str).collect();
        assert_eq!(names, [CEFLINE_TOML, "client-secret"]);
        assert_eq!(
            configuration.text("client-secret").unwrap(),
            "client-secret"
        );
        assert_eq!(
            configuration.left_out.len(),
            2,
            "{:?}",
            configuration.left_out
        );
    }

    #[test]
    fn files_are_taken_up_to_the_bounds_and_told_beyond() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("a"), vec![0; 1024 * 1024]).unwrap();
        fs::write(at("b"), vec![0; 1024 * 1024 + 1]).unwrap();
        for n in 0..FILES_MOST {
            fs::write(at(&format!("f{n}")), "").unwrap();
        }
        let configuration = taken_from(folder.path());
        assert_eq!(configuration.files.len(), FILES_MOST);
        assert!(configuration.files.contains_key("a"));
        assert_eq!(
            configuration.left_out,
            ["b: longer than 1048576 bytes", "f9: more than 64 files"]
        );
    }

    #[test]
    fn a_disk_full_of_junk_is_told_of_in_a_few_lines() {
        let folder = tempfile::tempdir().unwrap();
        for n in 0..300 {
            fs::write(folder.path().join(format!("a b{n:03}")), "").unwrap();
        }
        let left_out = taken_from(folder.path()).left_out();
        assert_eq!(left_out.len(), LEFT_OUT_MOST + 1);
        assert_eq!(left_out[LEFT_OUT_MOST], "and 290 more");
    }

    #[test]
    fn a_document_is_a_configuration_or_a_table_of_files() {
        let document = "[listen]\ntcp = [\"0.0.0.0:514\"]\n";
        let one = from_document(Source::Azure, document.as_bytes()).unwrap();
        assert_eq!(one.text(CEFLINE_TOML).unwrap(), document);
        let document = "[files]\n'cefline.toml' = '''\n[listen]\n'''\nclient-secret = 's'\n";
        let two = from_document(Source::Smbios, document.as_bytes()).unwrap();
        assert_eq!(two.text(CEFLINE_TOML).unwrap(), "[listen]\n");
        assert_eq!(two.text("client-secret").unwrap(), "s");
        assert_eq!(two.text("other").unwrap(), "");
    }

    #[test]
    fn a_document_that_cannot_be_used_is_refused() {
        for (document, part) in [
            (&b"#cloud-config\nusers: []"[..], "AZURE"),
            (b"\xff", "not UTF-8"),
            (b"files.'../x' = 'y'", "../x"),
            (b"files.x = 1", "files"),
        ] {
            let error = from_document(Source::Azure, document)
                .unwrap_err()
                .to_string();
            assert!(error.contains(part) && !error.contains('\n'), "{error}");
        }
    }

    proptest! {
        #[test]
        fn a_plain_name_stays_in_its_folder(name in "\\PC{0,200}", dots in "[./a]{0,5}") {
            for name in [name, dots] {
                if is_plain(&name) {
                    prop_assert!(!name.contains('/') && !name.starts_with('.') && name.len() <= 100);
                }
            }
        }
    }
}
