//! The way to a file: the links that it leads over, and where it ends.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// As many links as the kernel follows.
const LINKS_MAX: usize = 40;

/// The way to a file, which need not be there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// Links in the order in which they are followed. There is no link on the way to one.
    pub(super) links: Vec<PathBuf>,
    /// The file, with no link on the way to it.
    pub(super) end: PathBuf,
}

/// What is left of a path.
enum Step {
    ToRoot,
    Up,
    Down(OsString),
}

impl Way {
    /// The way to a file as it is now; a path that is not absolute begins where we are.
    pub(super) fn to(file: &Path) -> Way {
        // where we are cannot be told if that folder is gone
        let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        let mut way = Way {
            links: Vec::new(),
            end: PathBuf::from("/"),
        };
        let mut left: VecDeque<Step> = steps(&absolute);
        while let Some(step) = left.pop_front() {
            match step {
                Step::ToRoot => way.end = PathBuf::from("/"),
                Step::Up => drop(way.end.pop()),
                Step::Down(name) => {
                    let next = way.end.join(name);
                    match fs::read_link(&next) {
                        Ok(target) if way.links.len() < LINKS_MAX => {
                            let mut further = steps(&target);
                            further.append(&mut left);
                            left = further;
                            way.links.push(next);
                        }
                        _ => way.end = next,
                    }
                }
            }
        }
        way
    }
}

fn steps(path: &Path) -> VecDeque<Step> {
    let steps = path.components().filter_map(|component| match component {
        Component::RootDir => Some(Step::ToRoot),
        Component::ParentDir => Some(Step::Up),
        Component::Normal(name) => Some(Step::Down(name.to_owned())),
        Component::CurDir | Component::Prefix(_) => None,
    });
    steps.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_way_leads_over_links_of_links_and_up_again() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().canonicalize().unwrap();
        fs::create_dir_all(own.join("archive/host")).unwrap();
        fs::create_dir_all(own.join("live/host")).unwrap();
        fs::write(own.join("archive/host/key1"), "").unwrap();
        symlink("../../archive/host/key1", own.join("live/host/key")).unwrap();
        symlink(own.join("live"), own.join("now")).unwrap();
        let way = Way::to(&own.join("now/host/./key"));
        assert_eq!(way.end, own.join("archive/host/key1"));
        assert_eq!(way.links, [own.join("now"), own.join("live/host/key")]);
    }

    #[test]
    fn a_way_to_nothing_ends_where_that_would_be() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().canonicalize().unwrap();
        symlink(own.join("none/file"), own.join("dangling")).unwrap();
        let way = Way::to(&own.join("dangling"));
        assert_eq!(way.end, own.join("none/file"));
        symlink("round", own.join("round")).unwrap();
        assert_eq!(Way::to(&own.join("round")).links.len(), LINKS_MAX);
    }
}
