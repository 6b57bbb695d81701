//! Streams read back by another decoder.
