//! The project's language is English.

/// Letters of other alphabets, each once, in the order in which they stand; typographic signs are none.
pub fn foreign(text: &str) -> String {
    let mut found = String::new();
    for letter in text.chars().filter(|letter| letter.is_alphabetic() && !letter.is_ascii()) {
        if !found.contains(letter) {
            found.push(letter);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_of_other_alphabets_are_told_and_signs_are_not() {
        for (text, expected) in [
            ("Fix a leak in stats", ""),
            ("Don’t wait – 5 µs…", "µ"),
            ("메모리 누수 누수", "메모리누수"),
            ("Fix メモリ", "メモリ"),
            ("修复 leak → none 🎉", "修复"),
            ("Größe", "öß"),
        ] {
            assert_eq!(foreign(text), expected, "{text}");
        }
    }
}
