//! PID 1 of the cefline appliance.

fn main() {}
