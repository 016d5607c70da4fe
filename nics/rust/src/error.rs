//! What goes wrong when a door is opened, in words for the person who runs it.

use std::fmt;

/// A door could not be opened: what is wrong, and what to do about it (may be empty).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenError {
    pub what: String,
    pub remedy: String,
}

impl OpenError {
    pub fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        OpenError { what: what.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if !self.remedy.is_empty() {
            write!(f, ": {}", self.remedy)?;
        }
        Ok(())
    }
}

impl std::error::Error for OpenError {}
