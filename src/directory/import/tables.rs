//! Tables out of a dump of MySQL or MariaDB, or out of files of comma-separated values (RFC 4180).

use std::collections::BTreeMap;

/// Rows of tables by the table's name; each row by the column's.
#[derive(Debug, Default)]
pub struct Tables(BTreeMap<String, Vec<Row>>);

/// A row: a text by each column's name, and no text where there is a NULL.
pub type Row = BTreeMap<String, String>;

impl Tables {
    /// The rows of a table; none where no file has it.
    pub fn rows(&self, table: &str) -> &[Row] {
        self.0.get(table).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether a file has this table.
    pub fn has(&self, table: &str) -> bool {
        self.0.contains_key(table)
    }

    /// Adds the rows of a file of comma-separated values, whose first line names the columns.
    ///
    /// # Errors
    /// It is not such a file: says where.
    pub fn add_csv(&mut self, table: &str, text: &str) -> Result<(), String> {
        let mut records = csv(text.strip_prefix('\u{feff}').unwrap_or(text))?.into_iter();
        let (_, head) = records.next().ok_or("the first line names the columns, and there is none")?;
        let rows = self.0.entry(table.to_owned()).or_default();
        for (line, record) in records {
            if record.len() != head.len() {
                return Err(format!("line {line} has {} values, and there are {} columns", record.len(), head.len()));
            }
            let row = head.iter().cloned().zip(record);
            rows.push(row.filter(|(_, value)| value != "NULL" && value != "\\N").collect());
        }
        Ok(())
    }

    /// Adds the rows of a dump, as `mysqldump` and `mariadb-dump` write it.
    ///
    /// # Errors
    /// A statement that has rows cannot be read: says where.
    pub fn add_dump(&mut self, text: &str) -> Result<(), String> {
        let mut columns: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut reader = Reader { rest: text, whole: text };
        while !reader.rest.is_empty() {
            reader.skip_blank();
            if reader.word("CREATE TABLE") {
                reader.word("IF NOT EXISTS");
                let table = reader.name()?;
                columns.insert(table, reader.columns()?);
            } else if reader.word("INSERT INTO") || reader.word("INSERT IGNORE INTO") || reader.word("REPLACE INTO") {
                let table = reader.name()?;
                let named = if reader.sign('(') { reader.names()? } else { Vec::new() };
                let head = if named.is_empty() { columns.get(&table).cloned().unwrap_or_default() } else { named };
                if head.is_empty() {
                    return Err(format!("line {}: the columns of {table} are not named", reader.line()));
                }
                if !reader.word("VALUES") {
                    return Err(format!("line {}: VALUES is expected here", reader.line()));
                }
                let rows = self.0.entry(table).or_default();
                loop {
                    let values = reader.values()?;
                    if values.len() != head.len() {
                        let (values, columns) = (values.len(), head.len());
                        return Err(format!("line {}: {values} values for {columns} columns", reader.line()));
                    }
                    let row = head.iter().cloned().zip(values).filter_map(|(column, value)| Some((column, value?)));
                    rows.push(row.collect());
                    if !reader.sign(',') {
                        break;
                    }
                }
            } else {
                reader.skip_statement();
            }
        }
        Ok(())
    }
}

/// A record, and the line that it begins at.
type Record = (usize, Vec<String>);

fn csv(text: &str) -> Result<Vec<Record>, String> {
    let (mut records, mut record, mut value) = (Vec::new(), Vec::new(), String::new());
    let (mut line, mut began) = (1_usize, 1);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if value.is_empty() => loop {
                match letters.next() {
                    Some('"') if letters.peek() == Some(&'"') => {
                        letters.next();
                        value.push('"');
                    }
                    Some('"') => break,
                    Some(inner) => {
                        line = line.saturating_add(usize::from(inner == '\n'));
                        value.push(inner);
                    }
                    None => return Err(format!("the quotation that begins in line {began} never ends")),
                }
            },
            ',' => record.push(std::mem::take(&mut value)),
            '\r' if letters.peek() == Some(&'\n') => {}
            '\n' => {
                if !(record.is_empty() && value.is_empty()) {
                    record.push(std::mem::take(&mut value));
                    records.push((began, std::mem::take(&mut record)));
                }
                line = line.saturating_add(1);
                began = line;
            }
            other => value.push(other),
        }
    }
    if !(record.is_empty() && value.is_empty()) {
        record.push(value);
        records.push((began, record));
    }
    Ok(records)
}

/// Reads a dump from its beginning to its end.
struct Reader<'text> {
    rest: &'text str,
    whole: &'text str,
}

impl Reader<'_> {
    fn line(&self) -> usize {
        self.line_before(self.rest.len())
    }

    /// The line where so many bytes are left. It is counted only where something is wrong: a dump is long.
    fn line_before(&self, left: usize) -> usize {
        let read = self.whole.len().saturating_sub(left);
        self.whole.bytes().take(read).filter(|byte| *byte == b'\n').count().saturating_add(1)
    }

    fn take(&mut self) -> Option<char> {
        let letter = self.rest.chars().next()?;
        self.rest = self.rest.get(letter.len_utf8()..).unwrap_or_default();
        Some(letter)
    }

    /// Skips white space and comments.
    fn skip_blank(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            let end = match self.rest {
                rest if rest.starts_with("--") || rest.starts_with('#') => rest.find('\n'),
                rest if rest.starts_with("/*") => rest.find("*/").map(|at| at.saturating_add(2)),
                _ => return,
            };
            self.rest = self.rest.get(end.unwrap_or(self.rest.len())..).unwrap_or_default();
        }
    }

    /// Takes these words, in any case of letters, if they stand here.
    fn word(&mut self, words: &str) -> bool {
        self.skip_blank();
        let Some((here, rest)) = self.rest.split_at_checked(words.len()) else { return false };
        let stands = here.eq_ignore_ascii_case(words) && !rest.starts_with(|next: char| next.is_alphanumeric());
        if stands {
            self.rest = rest;
        }
        stands
    }

    fn sign(&mut self, sign: char) -> bool {
        self.skip_blank();
        let stands = self.rest.starts_with(sign);
        if stands {
            self.take();
        }
        stands
    }

    /// A name, in quotes or without; of one with its database before it, the last.
    fn name(&mut self) -> Result<String, String> {
        self.skip_blank();
        let left = self.rest.len();
        let name = match self.rest.strip_prefix('`') {
            Some(quoted) => {
                let (name, rest) = quoted
                    .split_once('`')
                    .ok_or_else(|| format!("line {}: a name never ends", self.line_before(left)))?;
                self.rest = rest;
                name
            }
            None => {
                let end = self.rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
                let (name, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
                self.rest = rest;
                name
            }
        };
        let name = name.to_owned();
        match name.is_empty() {
            true => Err(format!("line {}: a name is expected here", self.line_before(left))),
            false if self.sign('.') => self.name(),
            false => Ok(name),
        }
    }

    /// The names up to the closing parenthesis.
    fn names(&mut self) -> Result<Vec<String>, String> {
        let mut names = Vec::new();
        loop {
            names.push(self.name()?);
            if self.sign(')') {
                return Ok(names);
            }
            if !self.sign(',') {
                return Err(format!("line {}: a comma is expected here", self.line()));
            }
        }
    }

    /// The columns of a table that is made: of each line of its parenthesis, the name in quotes that it begins with.
    fn columns(&mut self) -> Result<Vec<String>, String> {
        if !self.sign('(') {
            return Err(format!("line {}: the columns are expected here", self.line()));
        }
        let mut columns = Vec::new();
        loop {
            self.skip_blank();
            if self.rest.starts_with('`') {
                columns.push(self.name()?);
            }
            // To the comma, or to the end.
            let mut depth = 0_usize;
            loop {
                self.skip_blank();
                match self.rest.chars().next() {
                    None => return Err("the last table never ends".to_owned()),
                    Some('\'' | '"') => _ = self.value()?,
                    Some(letter) => {
                        self.take();
                        match (letter, depth) {
                            ('(', _) => depth = depth.saturating_add(1),
                            (')', 0) => return Ok(columns),
                            (')', _) => depth = depth.saturating_sub(1),
                            (',', 0) => break,
                            (_, _) => {}
                        }
                    }
                }
            }
        }
    }

    fn values(&mut self) -> Result<Vec<Option<String>>, String> {
        if !self.sign('(') {
            return Err(format!("line {}: a row in parentheses is expected here", self.line()));
        }
        let mut values = Vec::new();
        loop {
            values.push(self.value()?);
            if self.sign(')') {
                return Ok(values);
            }
            if !self.sign(',') {
                return Err(format!("line {}: a comma is expected here", self.line()));
            }
        }
    }

    /// One value; `None` for NULL.
    fn value(&mut self) -> Result<Option<String>, String> {
        self.skip_blank();
        let left = self.rest.len();
        let Some(quote) = self.rest.chars().next().filter(|letter| matches!(letter, '\'' | '"')) else {
            let end = self.rest.find([',', ')']).unwrap_or(self.rest.len());
            let (value, rest) = self.rest.split_at(end);
            self.rest = rest;
            let value = value.trim();
            return Ok((!value.eq_ignore_ascii_case("null")).then(|| value.to_owned()));
        };
        self.take();
        let mut text = String::new();
        loop {
            match self.take() {
                None => return Err(format!("line {}: a text never ends", self.line_before(left))),
                Some('\\') => text.push(match self.take() {
                    Some('n') => '\n',
                    Some('r') => '\r',
                    Some('t') => '\t',
                    Some('0') => '\0',
                    Some('Z') => '\u{1a}',
                    Some(other) => other,
                    None => return Err(format!("line {}: a text never ends", self.line_before(left))),
                }),
                Some(letter) if letter == quote => match self.rest.starts_with(quote) {
                    true => text.extend(self.take()),
                    false => return Ok(Some(text)),
                },
                Some(letter) => text.push(letter),
            }
        }
    }

    /// Goes behind the next semicolon that stands in no text.
    fn skip_statement(&mut self) {
        loop {
            self.skip_blank();
            match self.rest.chars().next() {
                None => return,
                Some('\'' | '"') if self.value().is_err() => return,
                Some('\'' | '"') => {}
                Some(letter) => {
                    self.take();
                    if letter == ';' {
                        return;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn row(values: &[(&str, &str)]) -> Row {
        values.iter().map(|(column, value)| ((*column).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn rows_of_a_dump_are_read_as_they_were_written() {
        let dump = "-- MariaDB dump\n/*!40101 SET NAMES utf8 */;\nDROP TABLE IF EXISTS `apps`;\n\
                    CREATE TABLE `apps` (\n  `id` int(11) NOT NULL AUTO_INCREMENT,\n  `app` varchar(64) DEFAULT 'a,(b',\n  \
                    `note` text DEFAULT NULL,\n  PRIMARY KEY (`id`),\n  KEY `k` (`app`,`id`)\n) ENGINE=InnoDB;\n\
                    LOCK TABLES `apps` WRITE;\n\
                    INSERT INTO `apps` VALUES (1,'it''s; \\'so\\'',NULL),\n(2,'a\\nb','(x),(y)');\n\
                    INSERT INTO db.`auth_group` (`id`, `role`) VALUES (3,'Ä');\nUNLOCK TABLES;\n";
        let mut tables = Tables::default();
        tables.add_dump(dump).unwrap();
        let expected =
            [row(&[("id", "1"), ("app", "it's; 'so'")]), row(&[("id", "2"), ("app", "a\nb"), ("note", "(x),(y)")])];
        assert_eq!(tables.rows("apps"), expected);
        assert_eq!(tables.rows("auth_group"), [row(&[("id", "3"), ("role", "Ä")])]);
        for (wrong, message) in [
            ("INSERT INTO `x` VALUES (1);", "line 1: the columns of x are not named"),
            ("\nINSERT INTO x (a) VALUES (1,2);", "line 2: 2 values for 1 columns"),
            ("INSERT INTO x (a) VALUES ('1", "line 1: a text never ends"),
        ] {
            assert_eq!(Tables::default().add_dump(wrong), Err(message.to_owned()), "{wrong}");
        }
    }

    #[test]
    fn rows_of_comma_separated_values_are_read_as_they_were_written() {
        let mut tables = Tables::default();
        tables.add_csv("apps", "\u{feff}id,app,note\r\n1,\"a \"\"b\"\", c\",NULL\r\n2,\"x\ny\",z\r\n\r\n").unwrap();
        let expected =
            [row(&[("id", "1"), ("app", "a \"b\", c")]), row(&[("id", "2"), ("app", "x\ny"), ("note", "z")])];
        assert_eq!(tables.rows("apps"), expected);
        let wrong = Tables::default().add_csv("apps", "id,app\n1\n");
        assert_eq!(wrong, Err("line 2 has 1 values, and there are 2 columns".to_owned()));
    }
}
