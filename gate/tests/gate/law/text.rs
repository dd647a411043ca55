//! Texts for the law, and how they come in tokens.

use super::{
    choices::Choices,
    view::{DISGUISES, LETTERS},
};

/// One token of a completion.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) entropy: f32,
    pub(crate) logprob: f32,
    /// Of the watched tokens.
    pub(crate) mass: f32,
}

/// What texts and rules are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Theme {
    /// A few letters, so that random expressions match often.
    Letters,
    /// Numbers and addresses of people.
    Personal,
}

pub(crate) fn text(theme: Theme, choices: &mut Choices<'_>) -> String {
    match theme {
        Theme::Letters => String::from_iter(choices.many(1, 17, letter)),
        Theme::Personal => choices.many(1, 4, piece).concat(),
    }
}

/// Mostly what patterns are made of, so that matches are frequent.
pub(crate) fn letter(choices: &mut Choices<'_>) -> char {
    let of = if choices.sometimes(3) {
        LETTERS.len()
    } else {
        4
    };
    LETTERS[choices.below(of)].0
}

const SAMPLES: [&str; 28] = [
    "4111 1111 1111 1111",
    "378282246310005",
    "6759649826438453",
    "4111.1111.1111.1111",
    "4111111111111112",
    "DE89 3704 0044 0532 0130 00",
    "NO93 8601 1117 947",
    "GB82WEST12345698765432",
    "DE88370400440532013000",
    "jane.doe@mail.example.com",
    "j@x.io",
    "icon@2x.png",
    "123-45-6789",
    "666-45-6789",
    "10.0.0.1",
    "192.168.1.256",
    "2001:db8::1",
    "fe80::",
    "f32::add",
    "+49 (0)30 901820",
    "(212) 555-0199",
    "1-800-555-0199",
    "030/1234567",
    "0049 30 901820",
    "01.02.2023 10:00",
    "M-18",
    "M-79927398713",
    "98",
];

/// A number, perhaps broken off, changed or disguised; or something to stand between two.
fn piece(choices: &mut Choices<'_>) -> String {
    const BETWEEN: [&str; 16] = [
        " ", ", ", "_", "a", "1", "-", ".", "@", "é", "(", "\n", ":", "+", " - ", "0", "x ",
    ];
    if choices.sometimes(3) {
        return choices.one_of(&BETWEEN).to_owned();
    }
    let mut piece: Vec<char> = choices.one_of(&SAMPLES).chars().collect();
    if choices.sometimes(4) {
        let from = choices.below(piece.len());
        let to = from + choices.below(piece.len() - from + 1);
        piece = piece[from..to].to_vec();
    }
    if choices.sometimes(4) && !piece.is_empty() {
        let at = choices.below(piece.len());
        piece[at] = choices.one_of(&['0', '1', '5', 'a', 'Z', ' ', '-', '.', '_', ':', '@']);
    }
    if choices.sometimes(3) {
        return piece.into_iter().map(|c| disguised(c, choices)).collect();
    }
    piece.into_iter().collect()
}

fn disguised(character: char, choices: &mut Choices<'_>) -> String {
    match choices.below(8) {
        1 => wide(character).to_string(),
        2 => format!("{}{character}", choices.one_of(&DISGUISES).0),
        3 => match character {
            ' ' => "\u{00A0}".to_owned(),
            '-' => "\u{2011}".to_owned(),
            '0'..='9' => {
                let value = u32::from(character) - u32::from('0');
                char::from_u32(0x660 + value).unwrap().to_string()
            }
            other => other.to_uppercase().to_string(),
        },
        _ => character.to_string(),
    }
}

fn wide(character: char) -> char {
    match character {
        '!'..='~' => char::from_u32(u32::from(character) + 0xFEE0).unwrap(),
        other => other,
    }
}

/// `text` cut at random places, also where nothing lies between.
pub(crate) fn cut(text: &str, choices: &mut Choices<'_>) -> Vec<Token> {
    let mut pieces = vec![String::new()];
    let sizes = choices.one_of(&[2, 3, 6, 100]);
    for character in text.chars() {
        if choices.sometimes(sizes) {
            pieces.push(String::new());
        }
        if choices.sometimes(24) {
            pieces.push(String::new());
        }
        let last = pieces.last_mut().expect("there is always one");
        last.push(character);
    }
    if choices.sometimes(4) {
        pieces.push(String::new());
    }
    pieces
        .into_iter()
        .map(|text| token(text, choices))
        .collect()
}

pub(crate) fn token(text: String, choices: &mut Choices<'_>) -> Token {
    let facts = choices.below(64);
    Token {
        text,
        entropy: [0.0, 1.0, 2.0, 4.0][facts % 4],
        logprob: [0.0, -1.0, -2.0, -6.0][facts / 4 % 4],
        mass: [0.0, 0.25, 0.5, 1.0][facts / 16],
    }
}
