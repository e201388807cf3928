//! What a backend's label values are to rules: wildcards, or plain text.

use policy::pattern::{LabelValue, PatternError};
use settings::{Refusal, Section};

/// What the values of a backend's labels are (`label_values` in its section).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelSyntax {
    /// Globs, as in docker_auth: right where only administrators write them.
    Glob,
    /// Plain text: needed where users could have written them, in their own entry or as their own group's name. Whoever
    /// wrote `*` there would otherwise match everything.
    Literal,
}

impl LabelSyntax {
    /// Reads `label_values`; `unsaid` is what holds where the file does not say.
    pub(super) fn read(section: &mut Section<'_>, unsaid: LabelSyntax) -> LabelSyntax {
        let said = section.word("label_values", |text| match text {
            "glob" => Ok(LabelSyntax::Glob),
            "literal" => Ok(LabelSyntax::Literal),
            _ => Err(Refusal::is("neither glob nor literal")),
        });
        said.map_or(unsaid, |at| at.value)
    }

    /// What a value is to rules.
    ///
    /// # Errors
    /// The value has to be a glob, and cannot be read as one.
    fn value(self, text: &str) -> Result<LabelValue, PatternError> {
        match self {
            LabelSyntax::Glob => LabelValue::glob(text),
            LabelSyntax::Literal => Ok(LabelValue::literal(text)),
        }
    }

    /// The same of all values of a label.
    ///
    /// # Errors
    /// As for one.
    pub(super) fn values<T: AsRef<str>>(
        self,
        texts: impl IntoIterator<Item = T>,
    ) -> Result<Vec<LabelValue>, PatternError> {
        texts.into_iter().map(|text| self.value(text.as_ref())).collect()
    }
}
