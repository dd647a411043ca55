//! Texts, cut into tokens about as long as those of a tokenizer.

use super::rules::{FIRST, SECOND};

/// Characters of a token, the space before it not counted.
const TOKEN_CHARACTERS_MAX: usize = 6;

/// Plain English as a server writes it, with a number and an address here and there.
pub(crate) fn prose() -> Vec<String> {
    tokens(
        "Thank you for your question. An index fund buys every share of a market in the proportion \
         in which the market itself holds it, so that its costs are low and its return is close to \
         that of the market before fees. Nobody can promise you a return: prices fall as well as \
         rise, and you may get back less than you put in. Over the last 30 years the average was \
         about 7.2% a year before inflation, but single years ranged from -38% to +31%.\n\n\
         - Write down what the money is for, and when you will need it.\n\
         - Keep three to six months of expenses in savings that you can reach at once.\n\
         - Compare the ongoing charges: 0.07% and 0.75% look alike and are not.\n\n\
         You can find the prospectus at https://example.com/funds?id=4711, and the regulator\u{2019}s \
         register answers questions on weekdays from 9:00 to 17:30. If you are not sure, speak to \
         an independent adviser \u{2014} the first meeting is often free. ",
    )
}

/// The same in letters that the fold has to look at.
pub(crate) fn cyrillic() -> Vec<String> {
    tokens(
        "Спасибо за ваш вопрос. Индексный фонд покупает все акции рынка в той доле, в которой их \
         держит сам рынок, поэтому его издержки низки, а доходность близка к рыночной до вычета \
         комиссий. Никто не может обещать вам доход: цены не только растут, но и падают, и вы \
         можете получить меньше, чем вложили. Ещё раз сравните расходы и храните деньги на \
         непредвиденный случай там, где они доступны сразу. ",
    )
}

/// Beginnings of phrases of [`super::rules::phrases`], and never a whole one.
pub(crate) fn near_misses() -> Vec<String> {
    tokens(&near_miss_text())
}

/// [`near_misses`], and numbers that look like something without being it.
pub(crate) fn near_misses_and_numbers() -> Vec<String> {
    let numbers = "case A12/ AC-1234567 ref: C002-12 Dover v. Den 4111 1111 1111 1112 \
                   gb00 west 1234 5698 7654 32 a.b.c@d.e.f 1.2.3.999 fe80:1:2:3: 12 34 56 ";
    tokens(&near_miss_text().replace(". ", numbers))
}

/// What [`super::rules::spans`] wait in.
pub(crate) fn one_letter() -> Vec<String> {
    vec!["xxxxx".to_owned()]
}

fn near_miss_text() -> String {
    let pairs = FIRST.iter().zip(SECOND.iter().cycle());
    let misses = pairs.map(|(first, second)| format!("{first} {second} yie. "));
    misses.collect()
}

fn tokens(text: &str) -> Vec<String> {
    text.split_inclusive(|character: char| !character.is_alphanumeric())
        .flat_map(pieces)
        .collect()
}

fn pieces(word: &str) -> Vec<String> {
    let characters: Vec<char> = word.chars().collect();
    let pieces = characters.chunks(TOKEN_CHARACTERS_MAX);
    pieces.map(|piece| piece.iter().collect()).collect()
}
