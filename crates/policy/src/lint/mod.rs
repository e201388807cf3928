//! What a rule says that is probably not meant, as far as the rule alone can tell.

mod impossible;
mod possible;

pub use impossible::{across_slashes, each_or, is_mistaken, lint_impossible, pieces, without_host};
