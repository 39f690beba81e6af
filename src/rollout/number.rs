//! Numbers as people and models write them, exactly.

/// Longest text that is read as a number with its unit, in characters.
const LONGEST: usize = 200;
/// Most words of a unit.
const UNIT_WORDS: usize = 5;
/// Largest power of ten of an exponent.
const EXPONENT_MAX: u32 = 30;
/// Words that multiply the number before them.
const SCALES: [(&str, i128); 5] = [
    ("hundred", 100),
    ("thousand", 1_000),
    ("million", 1_000_000),
    ("billion", 1_000_000_000),
    ("trillion", 1_000_000_000_000),
];
/// What follows a number and makes it another one, or a term: no unit.
const NO_UNITS: [&str; 16] = [
    "x", "y", "z", "n", "a", "b", "i", "e", "pi", "or", "and", "to", "plus", "minus", "times", "over",
];

/// An exact number: a fraction in lowest terms, and whether a percent sign follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    numerator: i128,
    denominator: i128,
    percent: bool,
}

impl Number {
    fn new(numerator: i128, denominator: i128) -> Option<Self> {
        let divisor = gcd(numerator.unsigned_abs(), denominator.unsigned_abs());
        let divisor = i128::try_from(divisor).ok().filter(|divisor| *divisor > 0)?;
        (denominator > 0).then_some(Self {
            numerator: numerator / divisor,
            denominator: denominator / divisor,
            percent: false,
        })
    }

    /// Whether two are the same. Where one alone has a percent sign, it is either a unit (`50%`
    /// is `50`, but not where the other is below one) or a hundredth (`50%` is `0.5`).
    pub fn equals(self, other: Self) -> bool {
        if self.percent == other.percent {
            return self.same(other);
        }
        let (percent, plain) = if self.percent { (self, other) } else { (other, self) };
        let at_least_one = plain.numerator.unsigned_abs() >= plain.denominator.unsigned_abs() || plain.numerator == 0;
        (at_least_one && percent.same(plain)) || percent.times(1, 100).is_some_and(|share| share.same(plain))
    }

    fn same(self, other: Self) -> bool {
        (self.numerator, self.denominator) == (other.numerator, other.denominator)
    }

    fn times(self, by: i128, over: i128) -> Option<Self> {
        Self::new(self.numerator.checked_mul(by)?, self.denominator.checked_mul(over)?)
    }
}

fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The number that a text is, with at most a currency before it and a unit behind it.
/// [`super::plain`] was called on the text.
pub fn whole(text: &str) -> Option<Number> {
    let text = text.trim().trim_start_matches(['(', '[', '=']).trim_start();
    if text.chars().count() > LONGEST {
        return None;
    }
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest.trim_start()),
        None => ("", text),
    };
    let unsigned = unsigned.trim_start_matches(CURRENCIES).trim_start();
    let text = format!("{sign}{unsigned}");
    let (number, end) = at(&text, 0)?;
    unit(number, &text[end..])
}

const CURRENCIES: [char; 6] = ['$', '€', '£', '¥', '₹', '₽'];

/// The numbers in a text, in order, each with the percent sign behind it.
pub fn all(text: &str) -> Vec<Number> {
    let (mut found, mut from) = (Vec::new(), 0);
    while let Some(offset) = text[from..].find(|c: char| c.is_ascii_digit() || c == '.' || c == '-') {
        let start = from + offset;
        // A dash between two words or numbers is no sign, and a digit in a word no number.
        let before = text[..start].chars().next_back();
        let in_word = before.is_some_and(char::is_alphanumeric);
        let dash = text[start..].starts_with('-');
        match at(text, start).filter(|_| !in_word) {
            Some((number, end)) => {
                let rest = &text[end..];
                let percent = rest.trim_start().starts_with('%');
                let word = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
                // `18x` is a term.
                if !NO_UNITS.contains(&rest[..word].to_lowercase().as_str()) {
                    found.push(Number { percent, ..number });
                }
                from = end;
            }
            None if dash || !in_word => from = start + 1,
            None => {
                let rest = &text[start..];
                from = start + rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len()).max(1);
            }
        }
    }
    found
}

/// A number that begins at `start`, and where it ends: an integer with or without thousands
/// separators, a decimal, a power of ten, a fraction, or a mixed number.
fn at(text: &str, start: usize) -> Option<(Number, usize)> {
    let (first, end) = decimal(text, start)?;
    let rest = &text[end..];
    if let Some((whole, after)) = fraction(rest, first) {
        return Some((whole, end + after));
    }
    // `2 1/2`, and only that: a whole number, one space, and a proper fraction.
    if first.denominator == 1
        && let Some(next) = rest
            .strip_prefix(' ')
            .filter(|next| next.starts_with(|c: char| c.is_ascii_digit()))
        && let Some((part, after)) = decimal(next, 0)
        && let Some((part, more)) = fraction(&next[after..], part)
        && part.numerator < part.denominator
    {
        let negative = text[start..].starts_with('-');
        let signed = if negative { -part.numerator } else { part.numerator };
        let sum = first.numerator.checked_mul(part.denominator)?.checked_add(signed)?;
        return Some((Number::new(sum, part.denominator)?, end + 1 + after + more));
    }
    Some((first, end))
}

/// What `rest` divides `over` by, and how much of it that takes.
fn fraction(rest: &str, over: Number) -> Option<(Number, usize)> {
    let divisor = rest.strip_prefix('/')?;
    let (by, end) = decimal(divisor, 0).filter(|(by, _)| by.numerator > 0)?;
    // `1/2/2020` is a date.
    if divisor[end..].starts_with('/') {
        return None;
    }
    Some((over.times(by.denominator, by.numerator)?, 1 + end))
}

fn decimal(text: &str, start: usize) -> Option<(Number, usize)> {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut at = start;
    let negative = bytes.get(at) == Some(&b'-');
    at += usize::from(negative || bytes.get(at) == Some(&b'+'));
    let mut digits = 0_i128;
    let mut push = |byte: u8| -> Option<()> {
        digits = digits.checked_mul(10)?.checked_add(i128::from(byte - b'0'))?;
        Some(())
    };
    let begin = at;
    while digit(at) {
        push(bytes[at])?;
        at += 1;
    }
    // Thousands: one to three digits, then groups of exactly three.
    if (1..=3).contains(&(at - begin)) {
        while bytes.get(at) == Some(&b',') && (1..=3).all(|n| digit(at + n)) && !digit(at + 4) {
            for n in 1..=3 {
                push(bytes[at + n])?;
            }
            at += 4;
        }
    }
    let whole = at - begin;
    let mut scale = 0_u32;
    if bytes.get(at) == Some(&b'.') && digit(at + 1) {
        at += 1;
        while digit(at) {
            push(bytes[at])?;
            scale += 1;
            at += 1;
        }
    } else if whole == 0 {
        return None;
    }
    let mut power = 0_i64;
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let signed = at + 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let end = signed
            + bytes[signed.min(bytes.len())..]
                .iter()
                .take_while(|b| b.is_ascii_digit())
                .count();
        let parsed = text.get(at + 1..end).and_then(|text| text.parse::<i64>().ok());
        if let Some(parsed) = parsed.filter(|_| end > signed) {
            power = parsed;
            at = end;
        }
    }
    let ten = |power: u32| (power <= EXPONENT_MAX).then(|| 10_i128.checked_pow(power)).flatten();
    let digits = if negative { -digits } else { digits };
    let number = match u32::try_from(power.unsigned_abs()).ok().filter(|_| power != 0) {
        None if power == 0 => Number::new(digits, ten(scale)?)?,
        Some(up) if power > 0 => Number::new(digits.checked_mul(ten(up)?)?, ten(scale)?)?,
        Some(down) => Number::new(digits, ten(scale.checked_add(down)?)?)?,
        None => return None,
    };
    Some((number, at))
}

/// The number with what follows it, where that is a unit, a scale or nothing.
fn unit(number: Number, rest: &str) -> Option<Number> {
    let rest = rest
        .trim()
        .trim_end_matches(['.', ',', ';', ':', '!', ')', ']'])
        .trim_end();
    if rest.is_empty() {
        return Some(number);
    }
    if rest == "%" || rest.eq_ignore_ascii_case("percent") || rest.eq_ignore_ascii_case("per cent") {
        return Some(Number {
            percent: true,
            ..number
        });
    }
    let words: Vec<&str> = rest.split_whitespace().collect();
    let first = words.first()?.to_lowercase();
    if let Some((_, by)) = SCALES.iter().find(|(scale, _)| *scale == first) {
        return unit(number.times(*by, 1)?, &words[1..].join(" "));
    }
    let begins = rest.starts_with(|c: char| c.is_alphabetic() || c == '°' || CURRENCIES.contains(&c));
    let operators = rest.contains(['=', '<', '>', '+', '*', '\\']);
    let mut before = ' ';
    let counts = rest.chars().any(|c| {
        // The exponents of a unit (`m^2`, `m2`) are not numbers of their own.
        let own = c.is_ascii_digit() && !(before.is_alphabetic() || matches!(before, '^' | '{' | '-'));
        before = c;
        own
    });
    let fits = begins && !operators && !counts && words.len() <= UNIT_WORDS;
    (fits && !NO_UNITS.contains(&first.trim_matches(|c: char| !c.is_alphabetic()))).then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn same(one: &str, other: &str) -> bool {
        match (whole(one), whole(other)) {
            (Some(one), Some(other)) => one.equals(other),
            _ => false,
        }
    }

    #[test]
    fn what_is_the_same_number_is() {
        for (one, other) in [
            ("18", "18.0"),
            ("1,234", "1234"),
            ("1,234,567.50", "1234567.5"),
            ("-5", "-5.00"),
            ("+5", "5"),
            ("1/2", "0.5"),
            ("2 1/2", "2.5"),
            ("-2 1/2", "-2.5"),
            ("3/6", "1/2"),
            (".5", "0.5"),
            ("1.5e3", "1500"),
            ("2E-2", "0.02"),
            ("$18", "18 dollars"),
            ("-$18", "-18"),
            ("18.", "18"),
            ("18 km/h", "18"),
            ("18 m^2", "18 square metres"),
            ("50%", "50"),
            ("50%", "0.5"),
            ("50 percent", "50%"),
            ("1.5 million", "1500000"),
            ("2 thousand dollars", "2,000"),
            ("0", "-0"),
        ] {
            assert!(same(one, other) && same(other, one), "{one} {other}");
        }
    }

    #[test]
    fn what_is_another_number_or_none_is_not() {
        for (one, other) in [
            ("18", "81"),
            ("-5", "5"),
            ("1,23", "123"),
            ("0.5%", "0.5"),
            ("18 or 19", "18"),
            ("18x", "18"),
            ("1/2/2020", "0.5"),
            ("3:45", "3"),
            ("18 million", "18"),
            ("18 + 2", "18"),
            ("1.2.3", "1.2"),
            ("1/0", "1"),
            ("", "0"),
            ("eighteen", "18"),
            ("99999999999999999999999999999999999999999999", "1"),
            ("1e99", "1"),
        ] {
            assert!(!same(one, other), "{one} {other}");
        }
    }

    #[test]
    fn numbers_are_found_in_a_text() {
        let found = |text: &str| all(text).len();
        assert_eq!(found("16 - 3 - 4 = 9 eggs, so 9 * 2 = $18."), 7);
        assert_eq!(found("covid19 is 1 word and 3 m2"), 2);
        assert!(
            all("it is -7")
                .last()
                .is_some_and(|n| n.same(Number::new(-7, 1).expect("a number")))
        );
        assert!(
            all("10-7")
                .last()
                .is_some_and(|n| n.same(Number::new(7, 1).expect("a number"))),
            "a dash"
        );
        assert_eq!(found("- . -. a-b"), 0);
    }

    proptest! {
        #[test]
        fn no_text_panics_and_every_number_equals_itself(text in "\\PC{0,60}") {
            for number in all(&text) {
                prop_assert!(number.equals(number));
            }
            if let Some(number) = whole(&text) {
                prop_assert!(number.equals(number));
            }
        }

        #[test]
        fn spellings_of_one_number_are_equal(value in -1_000_000_000_i64..1_000_000_000, scale in 0_u32..4) {
            let sign = if value < 0 { "-" } else { "" };
            let digits = value.unsigned_abs().to_string();
            let grouped: Vec<String> = digits.as_bytes().rchunks(3).rev()
                .map(|group| String::from_utf8_lossy(group).into_owned()).collect();
            let grouped = format!("{sign}{}", grouped.join(","));
            let zeros = "0".repeat(scale as usize);
            let decimal = if scale == 0 { value.to_string() } else { format!("{value}.{zeros}") };
            let fraction = format!("{}/{}", value * 6, 6);
            for other in [&grouped, &decimal, &fraction, &format!("${grouped} dollars."), &format!("{value}e0")] {
                prop_assert!(same(&value.to_string(), other), "{value} {other}");
            }
            prop_assert!(!same(&value.to_string(), &(value + 1).to_string()));
        }
    }
}
