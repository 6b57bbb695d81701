//! `/etc/resolv.conf`, written so that whoever reads it sees the old one or the new one, whole.

use crate::settings::DNS_MOST;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

/// What the file says. A server that does not answer costs a look-up 2 s, not 5.
pub(crate) fn text(servers: &[IpAddr], domain: Option<&str>) -> String {
    let mut text = String::new();
    for server in servers.iter().take(DNS_MOST) {
        text += &format!("nameserver {server}\n");
    }
    if let Some(domain) = domain {
        text += &format!("search {domain}\n");
    }
    text + "options timeout:2 attempts:2\n"
}

/// Puts it in the place of the one that is there, if it differs.
pub(crate) fn write(path: &Path, text: &str) -> io::Result<()> {
    if fs::read(path).is_ok_and(|known| known == text.as_bytes()) {
        return Ok(());
    }
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_names_no_more_servers_than_are_read() {
        let servers: Vec<IpAddr> = (1..=4).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        let text = text(&servers, Some("example.org"));
        assert_eq!(
            text,
            "nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\nsearch example.org\n\
             options timeout:2 attempts:2\n"
        );
    }

    #[test]
    fn a_file_gives_way_to_the_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        for one in ["a\n", "b\n", "b\n"] {
            write(&path, one).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), one);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
