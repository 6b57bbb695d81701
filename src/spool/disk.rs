//! What a spool asks of a disk. Everything that can fail or be lost in a crash goes through here, so
//! that tests can take the disk's place and lose what a disk may lose.

use std::io;

/// A folder with folders of files in it. Paths are `folder/file`, relative, ASCII.
///
/// What must be on stable storage is said with [`Disk::sync`] for a file's content and
/// [`Disk::sync_folder`] for names; everything else may be lost, whole or by sector, in any order,
/// when the machine stops.
pub trait Disk {
    /// An open file.
    type File;

    /// Names of the folders in the root.
    ///
    /// # Errors
    /// The system's.
    fn folders(&mut self) -> io::Result<Vec<String>>;

    /// Names and lengths in bytes of the files in a folder.
    ///
    /// # Errors
    /// The system's.
    fn files(&mut self, folder: &str) -> io::Result<Vec<(String, u64)>>;

    /// Makes a folder; its own name is on stable storage afterwards.
    ///
    /// # Errors
    /// The system's.
    fn create_folder(&mut self, folder: &str) -> io::Result<()>;

    /// Removes a folder that is empty.
    ///
    /// # Errors
    /// The system's.
    fn remove_folder(&mut self, folder: &str) -> io::Result<()>;

    /// Makes a file of so many bytes, all of which have their place on the disk: writing into it
    /// cannot fail for lack of space. The file must not exist.
    ///
    /// # Errors
    /// The system's; nothing is left behind then.
    fn create(&mut self, path: &str, bytes: u64) -> io::Result<Self::File>;

    /// Opens a file to read and write.
    ///
    /// # Errors
    /// The system's.
    fn open(&mut self, path: &str) -> io::Result<Self::File>;

    /// Removes a file; one that is not there counts as removed.
    ///
    /// # Errors
    /// The system's.
    fn remove(&mut self, path: &str) -> io::Result<()>;

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// The system's; any part of it may have been written.
    fn write(&mut self, file: &mut Self::File, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Reads until `into` is full or the file ends; gives how much.
    ///
    /// # Errors
    /// The system's.
    fn read(&mut self, file: &mut Self::File, at: u64, into: &mut [u8]) -> io::Result<usize>;

    /// What was written to the file is on stable storage afterwards.
    ///
    /// # Errors
    /// The system's. What was written since the last success may or may not be there, and asking
    /// again proves nothing: Linux forgets the failure once it is told.
    fn sync(&mut self, file: &mut Self::File) -> io::Result<()>;

    /// The names in a folder are on stable storage afterwards.
    ///
    /// # Errors
    /// The system's.
    fn sync_folder(&mut self, folder: &str) -> io::Result<()>;

    /// Gives up the file's bytes from `bytes` on.
    ///
    /// # Errors
    /// The system's.
    fn shorten(&mut self, file: &mut Self::File, bytes: u64) -> io::Result<()>;

    /// Length of a file in bytes.
    ///
    /// # Errors
    /// The system's.
    fn length(&mut self, file: &mut Self::File) -> io::Result<u64>;

    /// Bytes that are free to us, and all bytes, of the file system.
    ///
    /// # Errors
    /// The system's.
    fn space(&mut self) -> io::Result<(u64, u64)>;
}
