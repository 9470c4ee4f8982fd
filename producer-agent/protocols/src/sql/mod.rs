//! Names of SQL statements: the statement's shape, without what it was asked with.
//!
//! In: the first bytes of a statement, possibly cut. Out: one line in which each literal, number and parameter is `?`, lists of them are
//! one `?`, comments are gone, white space is one space, key words are in capitals, and identifiers stand as they were. Of several
//! statements it is the first. A name that does not tell all of the statement ends in [`CUT`].
//!
//! Promises: no literal comes out, whatever the bytes are. Where two readings of a string are possible (a backslash before its closing
//! quote is a matter of the session's settings), the name ends there. Values that `SET` takes without quotes count as literals.
//!
//! Bound: [`NAME_BYTES_MAX`]. Words are told apart here rather than by a parser of the grammar (`sqlparser`), since that takes whole and
//! valid statements of a dialect that it knows, and what is seen are the heads of any.

mod tokens;

use tokens::{Token, Tokens};

/// Whose words and signs a statement is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    PostgreSql,
    /// Of MariaDB, too. What is in double quotes counts as a literal, whatever the session's settings make of it.
    MySql,
    /// CQL, of Cassandra.
    Cql,
}

/// The longest name.
pub const NAME_BYTES_MAX: usize = 256;

/// Ends a name that does not tell all of its statement.
pub const CUT: &str = "...";

/// Of a text without a statement in it.
pub const EMPTY: &str = "EMPTY";

/// Stands for a literal, a number or a parameter.
const VALUE: &str = "?";

/// Words that are no names of anything: in capitals, `select` and `SELECT` are the same statement.
const KEY_WORDS_OF_LETTER: [(u8, &str); 21] = [
    (b'A', "ADD ALL ALTER ANALYZE AND ANY ARRAY AS ASC"),
    (b'B', "BEGIN BETWEEN BY"),
    (b'C', "CALL CASE CAST CLOSE COMMIT CONFLICT COPY CREATE CROSS"),
    (b'D', "DEALLOCATE DECLARE DEFAULT DELETE DESC DISCARD DISTINCT DO DROP"),
    (b'E', "ELSE END EXECUTE EXISTS EXPLAIN"),
    (b'F', "FALSE FETCH FOR FROM FULL FUNCTION"),
    (b'G', "GRANT GROUP"),
    (b'H', "HAVING"),
    (b'I', "IF ILIKE IN INDEX INNER INSERT INTO IS"),
    (b'J', "JOIN"),
    (b'L', "LATERAL LEFT LIKE LIMIT LISTEN LOCK"),
    (b'M', "MERGE"),
    (b'N', "NOT NOTHING NOTIFY NULL"),
    (b'O', "OFFSET ON OR ORDER OUTER OVER"),
    (b'P', "PARTITION PREPARE"),
    (b'R', "RELEASE RETURNING REVOKE RIGHT ROLLBACK"),
    (b'S', "SAVEPOINT SELECT SET SHOW START"),
    (b'T', "TABLE THEN TO TRUE TRUNCATE"),
    (b'U', "UNION UPDATE USING"),
    (b'V', "VALUES"),
    (b'W', "WHEN WHERE WITH"),
];

/// Longer words are no key words.
const KEY_WORD_BYTES_MAX: usize = 10;

/// The name of a statement. `is_cut`: the statement goes on behind these bytes.
pub fn name(dialect: Dialect, statement: &[u8], is_cut: bool) -> String {
    let mut name = Name { text: String::with_capacity(NAME_BYTES_MAX), last: Last::Start, is_setting: false, dialect };
    let mut tokens = Tokens::new(dialect, statement, is_cut);
    let mut is_whole = true;
    let mut spaced = false;
    loop {
        match tokens.next() {
            Token::Space => {
                spaced = true;
                continue;
            }
            Token::Semicolon if name.last == Last::Start => {}
            Token::Semicolon | Token::End => break,
            Token::Cut => {
                is_whole = false;
                break;
            }
            token => {
                let before = name.text.len();
                name.push(token, spaced);
                if name.text.len() > NAME_BYTES_MAX - CUT.len() - 1 {
                    name.text.truncate(before);
                    is_whole = false;
                    break;
                }
            }
        }
        spaced = false;
    }
    let mut text = name.text;
    if !is_whole {
        text.truncate(text.trim_end().len());
        text.push_str(if text.is_empty() { CUT } else { " ..." });
    } else if text.is_empty() {
        text.push_str(EMPTY);
    }
    text
}

/// What stands at the end of a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Start,
    /// An identifier or something like it.
    Name,
    KeyWord,
    Value,
    /// Nothing but a value can come next.
    Operator,
    Comma,
    Open,
    Close,
    /// What follows belongs to what was before it: `.` and `::`.
    Joint,
}

struct Name {
    text: String,
    last: Last,
    /// `SET x = ...`: the words behind the sign are values.
    is_setting: bool,
    dialect: Dialect,
}

impl Name {
    fn push(&mut self, token: Token<'_>, spaced: bool) {
        match token {
            Token::Word(word) => self.push_word(word),
            Token::QuotedName(name) => {
                let on_one_line = String::from_utf8_lossy(name).replace(char::is_control, " ");
                self.push_text(&on_one_line, Last::Name);
            }
            Token::Value => self.push_value(),
            Token::Operator(sign) => self.push_operator(sign),
            Token::Comma => {
                self.text.push_str(", ");
                self.last = Last::Comma;
            }
            Token::Open(bracket) => {
                let is_call = self.last == Last::Name && !spaced;
                if !is_call && !matches!(self.last, Last::Start | Last::Open | Last::Comma | Last::Joint) {
                    self.space();
                }
                self.text.push(char::from(bracket));
                self.last = Last::Open;
            }
            Token::Close(bracket) => {
                self.text.push(char::from(bracket));
                self.last = Last::Close;
                // Rows of values are one row.
                if let Some(before) = self.text.strip_suffix("(?), (?)") {
                    self.text.truncate(before.len() + "(?)".len());
                }
            }
            Token::Space | Token::Semicolon | Token::End | Token::Cut => {}
        }
    }

    fn push_word(&mut self, word: &[u8]) {
        let text = String::from_utf8_lossy(word);
        let mut room = [0; KEY_WORD_BYTES_MAX];
        let upper = key_word(word, &mut room).unwrap_or_default();
        let is_first = self.last == Last::Start;
        let is_constant = matches!(upper, "NULL" | "TRUE" | "FALSE")
            && matches!(self.last, Last::Open | Last::Comma | Last::Operator);
        let is_set = match self.last {
            Last::Operator | Last::Value => self.is_setting,
            // What MySQL sets next, or the next of several values.
            Last::Comma => self.is_setting && self.dialect == Dialect::PostgreSql,
            _ => false,
        };
        if is_constant || is_set {
            return self.push_value();
        }
        let starts_value = self.is_setting && upper == "TO";
        if self.last != Last::Joint && !upper.is_empty() {
            self.push_text(upper, if starts_value { Last::Operator } else { Last::KeyWord });
        } else {
            self.push_text(&text, Last::Name);
        }
        self.is_setting |= upper == "SET" && (is_first || self.text.starts_with("ALTER "));
    }

    fn push_value(&mut self) {
        match self.last {
            // A sign before a number belongs to it, lists of values are one value.
            Last::Comma if self.text.ends_with("?, ") => self.text.truncate(self.text.len() - 2),
            Last::Value if self.text.ends_with(VALUE) => {}
            _ => self.push_text(VALUE, Last::Value),
        }
        self.last = Last::Value;
    }

    fn push_operator(&mut self, sign: &[u8]) {
        let sign = String::from_utf8_lossy(sign);
        if matches!(&*sign, "." | "::") {
            self.text.push_str(&sign);
            self.last = Last::Joint;
            return;
        }
        let is_sign_of_number = matches!(&*sign, "-" | "+")
            && matches!(self.last, Last::Operator | Last::Comma | Last::Open | Last::KeyWord);
        if !is_sign_of_number {
            self.push_text(&sign, Last::Operator);
        }
    }

    fn push_text(&mut self, text: &str, last: Last) {
        if !matches!(self.last, Last::Start | Last::Open | Last::Comma | Last::Joint) {
            self.space();
        }
        self.text.push_str(text);
        self.last = last;
    }

    fn space(&mut self) {
        if !self.text.ends_with(' ') {
            self.text.push(' ');
        }
    }
}

/// The word in capitals, if it is a key word.
fn key_word<'r>(word: &[u8], room: &'r mut [u8; KEY_WORD_BYTES_MAX]) -> Option<&'r str> {
    let upper = room.get_mut(..word.len())?;
    upper.copy_from_slice(word);
    upper.make_ascii_uppercase();
    let upper = str::from_utf8(upper).ok()?;
    let (_, words) = KEY_WORDS_OF_LETTER.iter().find(|(letter, _)| upper.as_bytes().first() == Some(letter))?;
    words.split(' ').any(|known| known == upper).then_some(upper)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(statement: &str, expected: &str) {
        assert_eq!(name(Dialect::PostgreSql, statement.as_bytes(), false), expected, "{statement}");
    }

    #[test]
    fn literals_become_one_sign() {
        check("select 1", "SELECT ?");
        check(
            "SELECT * FROM t WHERE a='x''y' and b = -1.5e+10 AND c=$3",
            "SELECT * FROM t WHERE a = ? AND b = ? AND c = ?",
        );
        check(r"SELECT E'it\'s secret', U&'d\0061t', X'1F', B'01', N'n'", "SELECT ?");
        check("SELECT $$ secret $$ , $tag$ it's $$ secret $tag$ FROM a", "SELECT ? FROM a");
        check("SELECT DATE '2020-01-01' + interval '1 day'", "SELECT DATE ? + interval ?");
        check("SELECT 'a' 'b'", "SELECT ?");
        check("SELECT 0x1F, 1_000, .5, 5.", "SELECT ?");
        check(
            "UPDATE t SET a = NULL, b = true, c = -x WHERE d IS NULL",
            "UPDATE t SET a = ?, b = ?, c = x WHERE d IS NULL",
        );
        check("SELECT a-1, a - b", "SELECT a - ?, a - b");
    }

    #[test]
    fn lists_of_values_are_one() {
        check("select a from t where b in (1, 2,3)", "SELECT a FROM t WHERE b IN (?)");
        check("INSERT INTO t(a,b) VALUES (1,'x'),( 2 , 'y' )", "INSERT INTO t(a, b) VALUES (?)");
        check("SELECT ARRAY[1,2]::int[], f(1, a, 2)", "SELECT ARRAY [?]::int[], f(?, a, ?)");
    }

    #[test]
    fn white_space_and_comments_do_not_count() {
        check("  -- secret\n/* a /* nested secret */ b */select\t1 ;\n", "SELECT ?");
        check("SELECT a,b FROM x.\"Y z\" WHERE a=b", "SELECT a, b FROM x.\"Y z\" WHERE a = b");
        check("BEGIN; UPDATE t SET a = 1", "BEGIN");
        check(";;select 1", "SELECT ?");
        for empty in ["", " ; ", "-- secret"] {
            check(empty, EMPTY);
        }
    }

    #[test]
    fn values_without_quotes_are_values_all_the_same() {
        check("SET app.token = hunter2", "SET app.token = ?");
        check("set app.token to hunter2, secret", "SET app.token TO ?");
        check("ALTER ROLE bob SET app.token TO hunter2", "ALTER ROLE bob SET app.token TO ?");
        check("ALTER ROLE bob PASSWORD 'hunter2'", "ALTER ROLE bob PASSWORD ?");
    }

    #[test]
    fn what_is_cut_says_so_and_ends_before_it() {
        for (statement, expected) in [
            ("SELECT a FROM orde", "SELECT a FROM ..."),
            ("SELECT a FROM t WHERE b = 'sec", "SELECT a FROM t WHERE b = ? ..."),
            ("SELECT 12", "SELECT ? ..."),
            ("SELECT \"na", "SELECT ..."),
            ("SELECT $ta", "SELECT ..."),
            ("SELECT $$sec", "SELECT ? ..."),
            ("/* sec", "..."),
            ("SELECT a ", "SELECT a ..."),
            ("S", "..."),
        ] {
            assert_eq!(name(Dialect::PostgreSql, statement.as_bytes(), true), expected, "{statement}");
        }
        assert_eq!(name(Dialect::PostgreSql, b"SELECT a; SELECT", true), "SELECT a");
        let long = format!("SELECT {}", "column_of_a_table, ".repeat(100));
        assert!(name(Dialect::PostgreSql, long.as_bytes(), false).len() <= NAME_BYTES_MAX);
        assert!(name(Dialect::PostgreSql, long.as_bytes(), false).ends_with(" ..."));
    }

    #[test]
    fn a_string_that_can_be_read_in_two_ways_ends_the_name() {
        check(r"SELECT 'it\'s secret' FROM t", "SELECT ? ...");
        check(r"SELECT 'C:\dir' FROM t", "SELECT ? FROM t");
    }

    #[test]
    fn literals_of_cql_are_values() {
        for (statement, expected) in [
            ("INSERT INTO a (b) VALUES (550e8400-e29b-41d4-a716-446655440000)", "INSERT INTO a (b) VALUES (?)"),
            ("SELECT * FROM a WHERE b = e29b41d4-e29b-41d4-a716-446655440000", "SELECT * FROM a WHERE b = ?"),
            (
                "SELECT * FROM a WHERE b = 0xCAFE AND c = :name AND d = ?",
                "SELECT * FROM a WHERE b = ? AND c = ? AND d = ?",
            ),
            (
                "UPDATE a SET b = 1h30m, c = P1Y2M10DT2H30M, d = P0001-02-03T04:05:06",
                "UPDATE a SET b = ?, c = ?, d = ?",
            ),
            (r"SELECT * FROM a WHERE b = 'secret\' AND c = 'it''s secret'", "SELECT * FROM a WHERE b = ? AND c = ?"),
            ("SELECT a FROM b // secret\nWHERE c = $$secret$$ -- secret", "SELECT a FROM b WHERE c = ?"),
            ("INSERT INTO a JSON '{\"b\": \"secret\"}'", "INSERT INTO a JSON ?"),
            ("UPDATE a SET b = b + {'x': 1, 'y': 2} WHERE P1 = 2", "UPDATE a SET b = b + {? : ? : ?} WHERE P1 = ?"),
        ] {
            assert_eq!(name(Dialect::Cql, statement.as_bytes(), false), expected, "{statement}");
        }
        for end in 20..36 {
            let cut = &"SELECT a FROM b WHERE c = e29b41d4-e29b-41d4-a716-446655440000"[..26 + end];
            assert_eq!(name(Dialect::Cql, cut.as_bytes(), true), "SELECT a FROM b WHERE c = ? ...", "{cut}");
        }
    }

    /// Each of these hides `hunter2` where a literal may stand.
    #[test]
    fn no_literal_comes_out_wherever_it_is_cut() {
        for statement in [
            "SELECT 'hunter2'",
            "SELECT 'it''s hunter2' || 'hunter2' FROM a",
            r"SELECT E'\'hunter2', e'\\', 'hunter2'",
            r"SELECT 'a\' hunter2 ', 1",
            r"SELECT '\\' hunter2 '\' hunter2 '",
            "SELECT U&'hunter2' UESCAPE '!', N'hunter2', B'hunter2', X'hunter2'",
            "SELECT $$hunter2$$, $a$ $$ hunter2 $$ $b$ hunter2 $a$, $_1$hunter2$_1$",
            "SELECT 1 /* hunter2 /* hunter2 */ hunter2 */ + 2 -- hunter2\n, 3",
            "/* hunter2 */ SELECT 1 --hunter2",
            "SELECT 'a'\n'hunter2'",
            "INSERT INTO a VALUES (1, 'hunter2', -1e5), (2, 'hunter2', $1)",
            "ALTER ROLE bob WITH ENCRYPTED PASSWORD 'hunter2' VALID UNTIL 'hunter2'",
            "CREATE USER bob PASSWORD 'hunter2'",
            "CREATE USER MAPPING FOR bob SERVER a OPTIONS (user 'hunter2', password 'hunter2')",
            "CREATE SUBSCRIPTION a CONNECTION 'host=b password=hunter2' PUBLICATION c",
            "SET app.secret = hunter2",
            "SET SESSION app.secret TO hunter2, 'hunter2'",
            "ALTER SYSTEM SET a.b = hunter2",
            "ALTER DATABASE a SET b.c TO hunter2",
            "COPY a FROM PROGRAM 'curl -u bob:hunter2 x'",
            "NOTIFY a, 'hunter2'",
            "DO $do$ BEGIN PERFORM 'hunter2'; END $do$ LANGUAGE plpgsql",
            "SELECT dblink('password=hunter2', $q$SELECT 'hunter2'$q$)",
            "SELECT a->>'hunter2', a #> '{hunter2}', a @> '[\"hunter2\"]'::jsonb",
            "SELECT a FROM b WHERE c LIKE '%hunter2%' ESCAPE '!' AND d = ANY('{hunter2}')",
            "EXECUTE a('hunter2')",
            "SELECT timestamp with time zone'hunter2', interval'hunter2'",
            "SELECT 1;SELECT 'hunter2' hunter2",
            "SELECT '\0 hunter2'",
        ] {
            for end in 0..=statement.len() {
                for is_cut in [true, false] {
                    let name = name(Dialect::PostgreSql, &statement.as_bytes()[..end], is_cut);
                    assert!(!name.contains("hu"), "{name} of {}", &statement[..end]);
                }
            }
        }
    }

    #[track_caller]
    fn check_mysql(statement: &str, expected: &str) {
        assert_eq!(name(Dialect::MySql, statement.as_bytes(), false), expected, "{statement}");
    }

    #[test]
    fn mysql_has_its_own_quotes_comments_and_parameters() {
        check_mysql("select `a b`, \"x\", 'y' from `db`.`t` where c=?", "SELECT `a b`, ? FROM `db`.`t` WHERE c = ?");
        check_mysql("select `a``b` from t", "SELECT `a``b` FROM t");
        check_mysql("select 1 # hunter2\n from t -- hunter2\n where a--1", "SELECT ? FROM t WHERE a - ?");
        check_mysql("/* a /* b */ select @@session.x, @y /*! hunter2 */", "SELECT @@session.x, @y");
        check_mysql("insert into t values (?,?),(?,?)", "INSERT INTO t VALUES (?)");
        check_mysql("select \"a\"\"b\", 'it''s' from t", "SELECT ? FROM t");
        check_mysql("select E'a', a$b, X'1F', _utf8'x', 0x1F from t", "SELECT E ?, a$b, ?, _utf8 ? FROM t");
        check_mysql("set @a := 5, sql_mode = ANSI", "SET @a := ?, sql_mode = ?");
        check_mysql(r"select 'it\'s hunter2' from t", "SELECT ? ...");
        check_mysql(r#"select "a\\" hunter2 "#, "SELECT ? ...");
    }

    #[test]
    fn no_literal_of_mysql_comes_out_wherever_it_is_cut() {
        for statement in [
            r#"SELECT "hunter2", 'it''s hunter2', "a""hunter2" FROM a"#,
            r"SELECT 'a\' hunter2 ', 1",
            r#"SELECT "\\" hunter2 "\" hunter2 ""#,
            "SELECT 1 /* hunter2 */ + 2 -- hunter2\n, 3 # hunter2\n, 4 /*! hunter2 */",
            "INSERT INTO a VALUES (1, 'hunter2', -1e5), (2, \"hunter2\", ?)",
            "CREATE USER 'bob'@'%' IDENTIFIED BY 'hunter2'",
            "CHANGE MASTER TO MASTER_PASSWORD='hunter2'",
            "SET PASSWORD FOR 'bob'@'%' = PASSWORD('hunter2')",
            "SET @secret = hunter2",
            "SELECT 1;SELECT 'hunter2' hunter2",
            "SELECT `a` LIKE '%hunter2%' ESCAPE '!' AND b = x'hunter2' AND c = N'hunter2'",
        ] {
            for end in 0..=statement.len() {
                for is_cut in [true, false] {
                    let name = name(Dialect::MySql, &statement.as_bytes()[..end], is_cut);
                    assert!(!name.contains("hu"), "{name} of {}", &statement[..end]);
                }
            }
        }
    }
}
