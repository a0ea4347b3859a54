//! A pull reader for one JSON text (RFC 8259): strict, iterative where it can be, without allocation.
//!
//! It knows nothing of schemas. Its tokens are slices of the input, so that numbers keep their digits. Every
//! string it passes is checked completely, skipped or not: control characters, escapes, surrogate pairs.

use super::Reason;

/// The deepest nesting of objects and arrays, the same as `serde_json`'s.
pub const MAX_DEPTH: usize = 127;

/// Reads one JSON text from front to back. A clone reads ahead.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: usize,
}

/// A string token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Text<'a> {
    /// What stands between the quotes.
    pub(crate) raw: &'a str,
    /// Whether `raw` has escapes, and so is not yet the value.
    pub(crate) escaped: bool,
}

/// A number token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number<'a> {
    /// The digits as written.
    pub(crate) text: &'a str,
    /// The value, if it was written as a whole number of at most 18 digits.
    pub(crate) small: Option<i64>,
    /// Whether there is neither a point nor an exponent.
    pub(crate) whole: bool,
}

impl<'a> Text<'a> {
    /// Appends the value to `out`.
    pub(crate) fn unescape(self, out: &mut String) {
        let mut rest = self.raw;
        while let Some(at) = rest.find('\\') {
            out.push_str(&rest[..at]);
            let (character, length) = unescape_one(&rest.as_bytes()[at..]);
            out.push(character);
            rest = &rest[at + length..];
        }
        out.push_str(rest);
    }

    /// The value, borrowed if there are no escapes.
    pub(crate) fn value(self) -> std::borrow::Cow<'a, str> {
        if self.escaped {
            let mut out = String::with_capacity(self.raw.len());
            self.unescape(&mut out);
            out.into()
        } else {
            self.raw.into()
        }
    }
}

impl<'a> Reader<'a> {
    /// # Errors
    /// [`Reason::InvalidUtf8`].
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, Reason> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Self::over(text)),
            Err(error) => Err(Reason::InvalidUtf8 { offset: error.valid_up_to() }),
        }
    }

    /// Over text.
    pub(crate) fn over(text: &'a str) -> Self {
        Self { text, bytes: text.as_bytes(), at: 0, depth: 0 }
    }

    /// The byte offset of what is read next.
    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    /// What is left from an offset on, to show it.
    pub(crate) fn rest(&self, offset: usize) -> &'a str {
        self.text.get(offset..).unwrap_or("")
    }

    /// Goes back to the start of a value to show it, and says whether it is broken further on.
    pub(crate) fn excerpt(&mut self, offset: usize) -> (&'a str, Option<Reason>) {
        self.at = offset;
        // Entered containers of the value are counted again; only an excerpt is at stake.
        self.depth = 0;
        match self.skip_value() {
            Ok(raw) => (raw, None),
            Err(reason) => (self.text.get(offset..).unwrap_or(""), Some(reason)),
        }
    }

    /// Skips whitespace and returns the next byte without taking it.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\t' | b'\r') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    /// Takes `{` or `[`, which the caller has peeked.
    #[inline]
    pub(crate) fn enter(&mut self) -> Result<(), Reason> {
        self.at += 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(Reason::TooDeep { limit: MAX_DEPTH }) } else { Ok(()) }
    }

    /// The next key of the object just entered, with its colon taken; `None` at its end. `first` starts as true.
    #[inline]
    pub(crate) fn key(&mut self, first: &mut bool) -> Result<Option<Text<'a>>, Reason> {
        match self.peek() {
            Some(b'}') => {
                self.leave();
                return Ok(None);
            }
            Some(b'"') if *first => *first = false,
            Some(b',') if !*first => {
                self.at += 1;
                if self.peek() != Some(b'"') {
                    return Err(self.malformed("expected a field name in double quotes"));
                }
            }
            _ if *first => return Err(self.malformed("expected a field name in double quotes or `}`")),
            _ => return Err(self.malformed("expected `,` or `}`")),
        }
        let key = self.string()?;
        if self.peek() != Some(b':') {
            return Err(self.malformed("expected `:`"));
        }
        self.at += 1;
        Ok(Some(key))
    }

    /// Whether the array just entered has a next element; takes the comma or the end. `first` starts as true.
    #[inline]
    pub(crate) fn element(&mut self, first: &mut bool) -> Result<bool, Reason> {
        match self.peek() {
            Some(b']') => {
                self.leave();
                return Ok(false);
            }
            Some(b',') if !*first => {
                self.at += 1;
                if self.peek() == Some(b']') {
                    return Err(self.malformed("trailing comma"));
                }
            }
            Some(_) if *first => *first = false,
            _ => return Err(self.malformed("expected `,` or `]`")),
        }
        Ok(true)
    }

    fn leave(&mut self) {
        self.at += 1;
        self.depth -= 1;
    }

    /// Takes `true`, `false` or `null`.
    #[inline]
    pub(crate) fn literal(&mut self, word: &'static str) -> Result<(), Reason> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(())
        } else {
            Err(self.malformed("expected a value"))
        }
    }

    /// Takes a string, whose opening quote the caller has peeked.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<Text<'a>, Reason> {
        let start = self.at + 1;
        self.at = start;
        let mut escaped = false;
        loop {
            self.at = find_special(self.bytes, self.at);
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    let raw = &self.text[start..self.at];
                    self.at += 1;
                    return Ok(Text { raw, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.malformed("control character in a string")),
                None => return Err(self.malformed("unterminated string")),
            }
        }
    }

    /// Checks and passes one escape sequence.
    fn escape(&mut self) -> Result<(), Reason> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let unit = hex4(&self.bytes[self.at + 2..]);
                match unit {
                    None => return Err(self.malformed("invalid escape")),
                    Some(0xD800..=0xDBFF) => {
                        let low = match self.bytes.get(self.at + 6..) {
                            Some([b'\\', b'u', rest @ ..]) => hex4(rest),
                            _ => None,
                        };
                        if !matches!(low, Some(0xDC00..=0xDFFF)) {
                            return Err(self.malformed("lone surrogate in a string"));
                        }
                        self.at += 12;
                    }
                    Some(0xDC00..=0xDFFF) => return Err(self.malformed("lone surrogate in a string")),
                    Some(_) => self.at += 6,
                }
            }
            _ => return Err(self.malformed("invalid escape")),
        }
        Ok(())
    }

    /// Takes a number, whose first byte (`-` or a digit) the caller has peeked.
    #[inline]
    pub(crate) fn number(&mut self) -> Result<Number<'a>, Reason> {
        let start = self.at;
        let negative = self.bytes[start] == b'-';
        self.at += usize::from(negative);
        let first = self.at;
        let mut value: i64 = 0;
        while let Some(digit @ b'0'..=b'9') = self.bytes.get(self.at) {
            // Wraps beyond 18 digits, where the value is not used.
            value = value.wrapping_mul(10).wrapping_add(i64::from(digit - b'0'));
            self.at += 1;
        }
        let digits = self.at - first;
        if digits == 0 || (digits > 1 && self.bytes[first] == b'0') {
            return Err(self.malformed("invalid number"));
        }
        let whole = !matches!(self.bytes.get(self.at), Some(b'.' | b'e' | b'E'));
        if !whole {
            self.fraction()?;
        }
        let small = (whole && digits <= 18).then_some(if negative { value.wrapping_neg() } else { value });
        Ok(Number { text: &self.text[start..self.at], small, whole })
    }

    /// Passes the fraction and the exponent of a number.
    fn fraction(&mut self) -> Result<(), Reason> {
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Reason> {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == start { Err(self.malformed("invalid number")) } else { Ok(()) }
    }

    /// Checks and passes any value; its text as written.
    pub(crate) fn skip_value(&mut self) -> Result<&'a str, Reason> {
        let next = self.peek();
        let start = self.at;
        match next {
            Some(b'{') => {
                self.enter()?;
                let mut first = true;
                while self.key(&mut first)?.is_some() {
                    self.skip_value()?;
                }
            }
            Some(b'[') => {
                self.enter()?;
                let mut first = true;
                while self.element(&mut first)? {
                    self.skip_value()?;
                }
            }
            Some(b'"') => {
                self.string()?;
            }
            Some(b'-' | b'0'..=b'9') => {
                self.number()?;
            }
            Some(b't') => self.literal("true")?,
            Some(b'f') => self.literal("false")?,
            Some(b'n') => self.literal("null")?,
            _ => return Err(self.malformed("expected a value")),
        }
        Ok(&self.text[start..self.at])
    }

    /// Checks that nothing but whitespace is left.
    pub(crate) fn finish(&mut self) -> Result<(), Reason> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.malformed("trailing characters")),
        }
    }

    #[cold]
    pub(crate) fn malformed(&self, what: &'static str) -> Reason {
        let what = if self.at >= self.bytes.len() { "unexpected end" } else { what };
        Reason::Malformed { what, offset: self.at }
    }
}

/// The offset of the first quote, backslash or control character at or after `at`, or the end.
#[inline]
fn find_special(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    // Eight bytes at a time. A byte is zero in `x` iff its high bit survives `(x - ONES) & !x`; bits above
    // the first hit may be wrong (borrows), so only the lowest one is used.
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let quote = word ^ (ONES * u64::from(b'"'));
        let backslash = word ^ (ONES * u64::from(b'\\'));
        let hits = (quote.wrapping_sub(ONES) & !quote)
            | (backslash.wrapping_sub(ONES) & !backslash)
            | (word.wrapping_sub(ONES * 0x20) & !word);
        let hits = hits & HIGHS;
        if hits != 0 {
            return at + hits.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|byte| *byte >= 0x20 && *byte != b'"' && *byte != b'\\') {
        at += 1;
    }
    at
}

fn hex4(bytes: &[u8]) -> Option<u32> {
    let digits = bytes.first_chunk::<4>()?;
    digits.iter().try_fold(0, |sum, digit| Some(sum * 16 + char::from(*digit).to_digit(16)?))
}

/// The character of the escape sequence at the front, which [`Reader::escape`] has checked, and its length.
fn unescape_one(bytes: &[u8]) -> (char, usize) {
    match bytes[1] {
        b'b' => ('\u{8}', 2),
        b'f' => ('\u{c}', 2),
        b'n' => ('\n', 2),
        b'r' => ('\r', 2),
        b't' => ('\t', 2),
        b'u' => {
            let unit = hex4(&bytes[2..]).expect("checked by the reader");
            match char::from_u32(unit) {
                Some(character) => (character, 6),
                None => {
                    let low = hex4(&bytes[8..]).expect("checked by the reader");
                    let code = 0x1_0000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
                    (char::from_u32(code).expect("a surrogate pair is a character"), 12)
                }
            }
        }
        other => (char::from(other), 2),
    }
}
