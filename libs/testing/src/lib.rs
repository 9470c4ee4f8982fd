//! What tests and loads of several packages share. No program of the product is built with it.
#![deny(missing_docs)]

mod kept;
mod random;
mod section;
pub mod servers;

pub use kept::{go_program, jars, python_modules};
pub use random::Random;
pub use section::assert_section;
