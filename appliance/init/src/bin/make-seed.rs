//! `make-seed IMAGE OUT`: makes the seed of the data partition out of an image of an empty ext4, when
//! the appliance is built. What it is and how the image is made: `disk/seed.rs`.

use appliance_init::disk::seed;
use std::env;
use std::fs;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [image, out] = arguments.as_slice() else {
        eprintln!("usage: make-seed IMAGE OUT");
        return ExitCode::from(2);
    };
    match make(image, out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("make-seed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn make(image: &str, out: &str) -> Result<(), String> {
    let size = fs::metadata(image)
        .map_err(|error| format!("{image}: {error}"))?
        .len();
    if size > seed::IMAGE_BYTES_MAX {
        return Err(format!("{image}: {}", seed::Error::ImageSize(size)));
    }
    let bytes = fs::read(image).map_err(|error| format!("{image}: {error}"))?;
    let seed = seed::make(&bytes).map_err(|error| format!("{image}: {error}"))?;
    if seed.len() as u64 > seed::SEED_BYTES_MAX {
        return Err(format!(
            "{image}: its seed has {} bytes, and {} is the most: is it empty?",
            seed.len(),
            seed::SEED_BYTES_MAX
        ));
    }
    fs::write(out, seed).map_err(|error| format!("{out}: {error}"))
}
