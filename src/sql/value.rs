//! Values of an SQL database, and rows of them: the same types on every database.

/// A value. Its `Debug` form says its type alone: password hashes are among them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// `NULL`.
    Null,
    /// A whole number; a truth value is 0 or 1.
    Integer(i64),
    /// A text; JSON is one, too.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl std::fmt::Debug for Value {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.kind())
    }
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Value::Null => "NULL",
            Value::Integer(_) => "a number",
            Value::Text(_) => "a text",
            Value::Bytes(_) => "bytes",
        }
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Integer(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Value {
        Value::Bytes(bytes)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

/// One row of an answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row(pub(super) Vec<Value>);

/// A column that holds something else than what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column} of the answer must be {expected}, and is {found}")]
pub struct Mistyped {
    column: usize,
    expected: &'static str,
    found: &'static str,
}

impl Row {
    /// A row of these values.
    pub(crate) fn of(values: impl IntoIterator<Item = Value>) -> Row {
        Row(values.into_iter().collect())
    }

    /// What is in a column, counted from 0, whatever it is; `NULL` where there is no such column.
    pub fn value(&self, column: usize) -> Value {
        self.0.get(column).cloned().unwrap_or(Value::Null)
    }

    /// The number in a column, counted from 0.
    ///
    /// # Errors
    /// There is none.
    pub fn integer(&self, column: usize) -> Result<i64, Mistyped> {
        self.optional_integer(column)?.ok_or(Mistyped { column, expected: "a number", found: "NULL" })
    }

    /// The number in a column, or `NULL`.
    ///
    /// # Errors
    /// There is something else.
    pub fn optional_integer(&self, column: usize) -> Result<Option<i64>, Mistyped> {
        match self.0.get(column) {
            Some(Value::Integer(number)) => Ok(Some(*number)),
            Some(Value::Null) => Ok(None),
            other => Err(mistyped(column, "a number", other)),
        }
    }

    /// The text in a column.
    ///
    /// # Errors
    /// There is none.
    pub fn text(&self, column: usize) -> Result<&str, Mistyped> {
        self.optional_text(column)?.ok_or(Mistyped { column, expected: "a text", found: "NULL" })
    }

    /// The text in a column, or `NULL`.
    ///
    /// # Errors
    /// There is something else.
    pub fn optional_text(&self, column: usize) -> Result<Option<&str>, Mistyped> {
        match self.0.get(column) {
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(Value::Null) => Ok(None),
            other => Err(mistyped(column, "a text", other)),
        }
    }

    /// The bytes in a column.
    ///
    /// # Errors
    /// There are none.
    pub fn bytes(&self, column: usize) -> Result<&[u8], Mistyped> {
        self.optional_bytes(column)?.ok_or(Mistyped { column, expected: "bytes", found: "NULL" })
    }

    /// The bytes in a column, or `NULL`.
    ///
    /// # Errors
    /// There is something else.
    pub fn optional_bytes(&self, column: usize) -> Result<Option<&[u8]>, Mistyped> {
        match self.0.get(column) {
            Some(Value::Bytes(bytes)) => Ok(Some(bytes)),
            Some(Value::Null) => Ok(None),
            other => Err(mistyped(column, "bytes", other)),
        }
    }
}

fn mistyped(column: usize, expected: &'static str, found: Option<&Value>) -> Mistyped {
    Mistyped { column, expected, found: found.map_or("no column", Value::kind) }
}
