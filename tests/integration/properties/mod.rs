//! What holds for every rule, every request and every text, tried on many made at random.

mod hostile;
mod index;
mod rules;
