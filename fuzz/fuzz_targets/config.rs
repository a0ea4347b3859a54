//! Configuration files: refused with a reason, or shown in a form that tells no secret.
#![no_main]

use frazil_cli::configuration_in_force;
use libfuzzer_sys::fuzz_target;

/// Stands in the corpus wherever a secret may.
const SECRET: &str = "hush-hush";

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // Secrets in files: any file of the machine would be read.
    if text.contains("_file") {
        return;
    }
    match configuration_in_force(text) {
        Ok(shown) => {
            assert!(!secret_alone(text) || !shown.contains(SECRET), "{text:?} tells its secret: {shown:?}");
        }
        Err(complaint) => assert!(!complaint.is_empty(), "{text:?} is refused without a reason"),
    }
});

/// Whether the secret stands where the corpus has it: as the whole value of a key that is a secret.
fn secret_alone(text: &str) -> bool {
    let secret = |line: &str| {
        let value = format!("\"{SECRET}\"");
        ["token", "password"].iter().any(|key| line.trim() == format!("{key} = {value}"))
    };
    text.contains(SECRET) && text.lines().filter(|line| line.contains(SECRET)).all(secret)
}
