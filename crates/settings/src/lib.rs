//! One YAML file, read strictly: types out, and everything that is wrong with it at once, with its line and what to write
//! instead.
//!
//! A [`Reading`] holds what is found out. It opens the document as a [`Field`] (one value); a value with keys is a
//! [`Section`]. Both carry the reading, so that a function that reads a part of the file takes that part alone. What the keys
//! mean is for the program to say.
//! No message repeats a value that could be a secret ([`refused`]).

pub mod env;
mod field;
pub mod files;
mod indentation;
pub mod moment;
pub mod number;
mod problem;
mod reading;
pub mod refused;
mod scalar;
mod section;
pub mod spelling;
pub mod text;
pub mod yaml;

pub use field::Field;
pub use moment::DayEnd;
pub use problem::{At, Invalid, Place, Problem};
pub use reading::{Findings, Noted, Reading, Secrets};
pub use refused::{Holds, Refusal, ShownPath};
pub use scalar::Scalar;
pub use section::{Section, UNREAD};
