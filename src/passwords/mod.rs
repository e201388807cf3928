//! Passwords, whoever keeps them: how they are hashed, whose turn that is, and how wrong ones are counted.

pub mod attempts;
pub mod hash_kind;
pub mod password;

use crate::identity::Standing;
use crate::secret::Secret;
