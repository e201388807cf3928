//! What is found out while one file is read, shared by all of its sections.

use std::cell::RefCell;
use std::path::PathBuf;

use crate::field::Field;
use crate::problem::{Place, Problem};
use crate::yaml::Node;

/// Whether certificates, keys and files of secrets are read with the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// They are, and must be fit for use.
    Read,
    /// They are left alone: to explain a decision, nobody needs them, and they may not be on this machine.
    Skip,
}

/// Something is wrong, and is noted already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted;

/// What a reading found out beside the values themselves.
#[derive(Default)]
pub struct Findings {
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What can be used but is probably not meant.
    pub warnings: Vec<Problem>,
    /// Every file that was read, or would have been: a change to any of them means to read all again.
    pub files: Vec<PathBuf>,
}

/// One reading of one file. Whoever reads a part of it notes here what is wrong and goes on: all of it is reported at once.
#[derive(Default)]
pub struct Reading(RefCell<Findings>);

impl Reading {
    /// The whole document.
    pub fn root<'file>(&'file self, node: &'file Node, secrets: Secrets) -> Field<'file> {
        self.field(node, "", secrets)
    }

    /// A part of the document, called `path` in messages.
    pub fn field<'file>(&'file self, node: &'file Node, path: impl Into<String>, secrets: Secrets) -> Field<'file> {
        Field::new(node, path.into(), Context { reading: self, secrets })
    }

    /// Notes a problem.
    pub fn problem(&self, place: &Place, path: impl Into<String>, message: impl Into<String>) {
        self.0.borrow_mut().problems.push(Problem::new(place.clone(), path, message));
    }

    /// Notes what is probably not meant.
    pub fn warn(&self, place: &Place, path: impl Into<String>, message: impl Into<String>) {
        self.0.borrow_mut().warnings.push(Problem::new(place.clone(), path, message));
    }

    /// Notes a file: when it changes, everything has to be read again.
    pub fn watch(&self, file: impl Into<PathBuf>) {
        let (files, file) = (&mut self.0.borrow_mut().files, file.into());
        if !files.contains(&file) {
            files.push(file);
        }
    }

    /// How many problems there are so far.
    pub fn problem_count(&self) -> usize {
        self.0.borrow().problems.len()
    }

    /// All that was found out, with the problems ordered by place.
    pub fn into_findings(self) -> Findings {
        let mut findings = self.0.into_inner();
        findings.problems.sort_by(|one, other| one.place.cmp(&other.place));
        findings
    }
}

/// What a section hands on to the sections below it.
#[derive(Clone, Copy)]
pub(crate) struct Context<'file> {
    pub(crate) reading: &'file Reading,
    pub(crate) secrets: Secrets,
}
