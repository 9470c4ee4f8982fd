//! Who Kafka and the registry let in, where they do not let in everybody on the machine.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::StackError;

const PASSWORD_BYTES: usize = 16;
const RANDOM: &str = "/dev/urandom";

/// A user and a password, which no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The name.
    pub user: String,
    /// Hexadecimal where it was drawn.
    pub password: String,
}

impl Credentials {
    /// With a password that nobody guesses.
    pub fn draw(user: &str) -> Result<Credentials, StackError> {
        let mut random = [0; PASSWORD_BYTES];
        File::open(RANDOM)
            .and_then(|mut file| file.read_exact(&mut random))
            .map_err(StackError::io("drawing a password from", Path::new(RANDOM)))?;
        let password = random.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Credentials { user: user.to_owned(), password })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn passwords_differ_and_are_not_shown() {
        let (one, other) = (Credentials::draw("ann").unwrap(), Credentials::draw("ann").unwrap());
        assert!(one.password != other.password && one.password.len() == 2 * PASSWORD_BYTES);
        assert!(!format!("{one:?}").contains(&one.password));
    }
}
