//! Likely mistakes in a rule, as far as the rule alone shows them.

mod impossible;
mod possible;

pub use impossible::{across_slashes, each_or, is_mistaken, lint_impossible, pieces, without_host};
