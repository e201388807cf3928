//! What holds for every rule, every request and every text, tried on many made at random.

mod documents;
mod every_document;
mod hostile;
mod index;
mod listed;
mod rules;
