//! A sender of messages that do not compress, so that disks fill quickly, with ids as generated
//! messages have them. It goes on until it is told to stop, however often it is held up.

use cefline::generate::append_id;
use fastrand::Rng;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

/// Characters of noise in a message: a row of some 6 KiB once it is compressed.
const NOISE_CHARS: usize = 8_000;
/// What noise is made of, and what needs no escape anywhere.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The sender, on a thread of its own.
pub(crate) struct Noise {
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Noise {
    /// Sends over one connection, flat out.
    pub(crate) fn start(to: SocketAddr, seed: u64) -> Noise {
        let mut stream = TcpStream::connect(to).unwrap();
        let (sent, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (count, is_over) = (Arc::clone(&sent), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let mut chance = Rng::with_seed(seed);
            let mut message = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let number = count.load(Ordering::Relaxed);
                write_message(&mut message, seed, number, &mut chance);
                stream.write_all(&message).unwrap();
                count.store(number + 1, Ordering::Relaxed);
            }
            // whoever has read all of it closes as well
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        });
        Noise { sent, stop, thread }
    }

    /// Messages that the kernel has taken as a whole.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends once the receiver has read everything; gives how many messages that were.
    pub(crate) fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.sent.load(Ordering::Relaxed)
    }
}

fn write_message(message: &mut Vec<u8>, seed: u64, number: u64, chance: &mut Rng) {
    message.clear();
    message.extend_from_slice(b"<13>CEF:0|Acme|Noise|1|1|noise|5|externalId=");
    append_id(message, seed, number);
    message.extend_from_slice(b" msg=");
    for _ in 0..NOISE_CHARS / 8 {
        // eight characters of six bits
        let bits = chance.u64(..);
        let letters = (0..8).map(|place| ALPHABET[(bits >> (6 * place)) as usize % 64]);
        message.extend(letters);
    }
    message.push(b'\n');
}
