//! How a program may wait for its connections.

/// How connections are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Io {
    /// By io_uring if the machine has it, else by epoll.
    Auto,
    /// By io_uring, or not at all.
    Uring,
    /// By epoll.
    Epoll,
}

impl Io {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Io::Auto => "auto",
            Io::Uring => "uring",
            Io::Epoll => "epoll",
        }
    }
}
