//! Exact arithmetic on a number's digits. No value passes through a binary float here.

/// Why a number has no such unscaled value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfit {
    /// The text is no JSON number.
    Syntax,
    /// There are digits beyond the scale.
    Fraction,
    /// More than 128 bits.
    Overflow,
}

/// The value of a JSON number times 10^`scale`, if that is a whole number.
pub(super) fn unscaled(text: &str, scale: u8) -> Result<i128, Unfit> {
    let number = split(text.as_bytes()).ok_or(Unfit::Syntax)?;
    let digits = || number.whole.iter().chain(number.fraction);
    let leading = digits().take_while(|digit| **digit == b'0').count();
    let total = number.whole.len() + number.fraction.len();
    if leading == total {
        return Ok(0);
    }
    let trailing = digits().rev().take_while(|digit| **digit == b'0').count();
    let significant = total - leading - trailing;
    // The power of ten that the significant digits are still to be multiplied with.
    let shift = number
        .exponent
        .saturating_sub(length(number.fraction.len()))
        .saturating_add(length(trailing))
        .saturating_add(i64::from(scale));
    if shift < 0 {
        return Err(Unfit::Fraction);
    }
    // i128 has at most 39 digits; this also bounds the loops below.
    if length(significant).saturating_add(shift) > 39 {
        return Err(Unfit::Overflow);
    }
    let sign = if number.negative { -1 } else { 1 };
    let mut value: i128 = 0;
    for digit in digits().skip(leading).take(significant) {
        let next = value.checked_mul(10).and_then(|v| v.checked_add(sign * i128::from(digit - b'0')));
        value = next.ok_or(Unfit::Overflow)?;
    }
    for _ in 0..shift {
        value = value.checked_mul(10).ok_or(Unfit::Overflow)?;
    }
    Ok(value)
}

/// The parts of a JSON number.
struct Parts<'t> {
    negative: bool,
    whole: &'t [u8],
    fraction: &'t [u8],
    /// Saturated: no text is long enough to bring a saturated exponent back into reach.
    exponent: i64,
}

/// Splits by JSON's grammar for numbers; `None` if the text is not in it.
fn split(text: &[u8]) -> Option<Parts<'_>> {
    let (negative, rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let (whole, rest) = rest.split_at(run(rest));
    if whole.is_empty() || (whole.len() > 1 && whole[0] == b'0') {
        return None;
    }
    let (fraction, rest) = match rest {
        [b'.', rest @ ..] if run(rest) > 0 => rest.split_at(run(rest)),
        rest => (&rest[..0], rest),
    };
    let exponent = match rest {
        [] => 0,
        [b'e' | b'E', b'-', digits @ ..] => -exponent(digits)?,
        [b'e' | b'E', b'+', digits @ ..] | [b'e' | b'E', digits @ ..] => exponent(digits)?,
        _ => return None,
    };
    Some(Parts { negative, whole, fraction, exponent })
}

fn exponent(digits: &[u8]) -> Option<i64> {
    if digits.is_empty() || run(digits) != digits.len() {
        return None;
    }
    // Far from i64's limits, so that the sums in `unscaled` cannot wrap, and far beyond any column.
    const LIMIT: i64 = i64::MAX / 4;
    Some(
        digits
            .iter()
            .fold(0i64, |sum, digit| sum.saturating_mul(10).saturating_add(i64::from(digit - b'0')).min(LIMIT)),
    )
}

/// How many digits the text starts with.
fn run(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

fn length(count: usize) -> i64 {
    i64::try_from(count).expect("a text is shorter than i64::MAX")
}
