use std::fmt;

/// Why bytes are no datum, or a value has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(String);

impl Error {
    pub(super) fn new(reason: impl Into<String>) -> Error {
        Error(reason.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(reason: T) -> Error {
        Error(reason.to_string())
    }
}

impl serde::ser::Error for Error {
    fn custom<T: fmt::Display>(reason: T) -> Error {
        Error(reason.to_string())
    }
}
