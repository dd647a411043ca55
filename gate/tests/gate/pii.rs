//! Personal data as people write it, and what only looks like it. What is to be found stands
//! between `«` and `»`.

use crate::stream::{enforce, run};

/// Whole, letter by letter, and cut at every place: the marked parts are replaced and nothing else.
fn outcomes(kind: &str, marked: &str) -> Option<String> {
    let (mut text, mut expected) = (String::new(), String::new());
    for (index, part) in marked.split(['«', '»']).enumerate() {
        text += part;
        expected += if index % 2 == 1 { "#" } else { part };
    }
    let gate = enforce(&[&format!("pii: [{kind}], action: redact, with: \"#\"")]);
    let cuts = text.char_indices().map(|(at, _)| at);
    let mut splits: Vec<Vec<&str>> = cuts.map(|cut| vec![&text[..cut], &text[cut..]]).collect();
    splits.push(text.split_inclusive(|_: char| true).collect());
    let wrong = splits.into_iter().find_map(|tokens| {
        let released = run(&gate, &tokens).text;
        (released != expected).then_some(released)
    });
    wrong.map(|released| format!("{marked:?} came out as {released:?}"))
}

#[track_caller]
fn check(kind: &str, found: &[&str], not_found: &[&str]) {
    assert!(found.len() >= 15 && not_found.len() >= 15, "{kind}");
    assert!(found.iter().all(|text| text.contains('«')));
    assert!(not_found.iter().all(|text| !text.contains('«')));
    let all = found.iter().chain(not_found);
    let wrong: Vec<String> = all.filter_map(|text| outcomes(kind, text)).collect();
    assert!(wrong.is_empty(), "{kind}:\n{}", wrong.join("\n"));
}

#[test]
fn payment_cards() {
    check(
        "payment_card",
        &[
            "Visa «4111 1111 1111 1111», please",
            "«4012888888881881»",
            "MasterCard «5555-5555-5555-4444».",
            "2-series «2223 0031 2200 3222»",
            "American Express «3782 822463 10005»",
            "Diners «3056 930902 5904»",
            "Discover «6011111111111117»",
            "JCB «3530 1113 3330 0000»",
            "UnionPay «6200 0000 0000 0005»",
            "Maestro «6759 6498 2643 8453»",
            "old Visa «4222 2222 2222 2»",
            "dots «4111.1111.1111.1111»",
            "{\"pan\":\"«4111111111111111»\"}",
            "typographic «4111\u{2011}1111\u{2011}1111\u{2011}1111»",
            "wide «４１１１ １１１１ １１１１ １１１１»",
            "Arabic «٤١١١ ١١١١ ١١١١ ١١١١»",
            "no-break «4111\u{00A0}1111\u{202F}1111\u{2009}1111»",
            "hidden «41\u{200B}11 11\u{2060}11 1\u{00AD}111 111\u{FEFF}1»",
            "right to left \u{202E}«4111 1111 1111 1111»\u{202C}",
            "spread «4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1»",
            "far «4111 - 1111 - 1111 - 1111»",
            "emphasis **«4111 1111 1111 1111»** and «_4111111111111111_»",
            "with its code «4111 1111 1111 1111» 123 04/27",
            "lines «4111 1111\n1111 1111»",
        ],
        &[
            "one digit off: 4111 1111 1111 1112",
            "no such issuer: 9111 1111 1111 1111",
            "order 1234567890123456",
            "time in ms 1700000000000",
            "time in ns 1700000000000000000",
            "ISBN 978-3-16-148410-0",
            "EAN 4006381333931",
            "EAN 5012345678900",
            "550e8400-e29b-41d4-a716-446655440000",
            "years 2021 2022 2023 2024",
            "pi 3.141592653589793",
            "e 2.718281828459045",
            "tracking 1Z 999 AA1 01 2345 6784",
            "account 12345678",
            "phone +49 30 901820 555",
            "int x[4] = {4111, 1111, 1111, 1111};",
            "sha 4f9d2c1a7b6e5d4c3b2a19087f6e5d4c",
            "in words four one one one",
        ],
    );
}

#[test]
fn ibans() {
    check(
        "iban",
        &[
            "DE «DE89 3704 0044 0532 0130 00».",
            "«DE89370400440532013000»",
            "small «de89 3704 0044 0532 0130 00»",
            "«GB82 WEST 1234 5698 7654 32»",
            "«FR14 2004 1010 0505 0001 3M02 606»",
            "«CH93 0076 2011 6238 5295 7»",
            "«NL91 ABNA 0417 1643 00»",
            "«ES91 2100 0418 4502 0005 1332»",
            "«IT60 X054 2811 1010 0000 0123 456»",
            "«AT61 1904 3002 3457 3201»",
            "«BE68 5390 0754 7034»",
            "«NO93 8601 1117 947»",
            "«SE45 5000 0000 0583 9825 7466»",
            "«PL61 1090 1014 0000 0712 1981 2874»",
            "«MT84 MALT 0110 0001 2345 MTLC AST0 01S»",
            "«SA03 8000 0000 6080 1016 7519»",
            "«HN88 CABF 0000 0000 0002 5000 5469»",
            "with dashes «DE89-3704-0044-0532-0130-00»",
            "followed by «DE89 3704 0044 0532 0130 00» and more",
            "IBAN:«DE89\u{00A0}3704\u{00A0}0044\u{00A0}0532\u{00A0}0130\u{00A0}00»",
            "`«DE89370400440532013000»`",
        ],
        &[
            "one off DE88 3704 0044 0532 0130 00",
            "swapped DE89 3704 0044 0532 0310 00",
            "too short DE89 3704 0044 0532 0130",
            "too long DE89 3704 0044 0532 0130 001",
            "no country XX89 3704 0044 0532 0130 00",
            "LEI 5493001KJTIIGC8Y1R12",
            "BIC COBADEFFXXX",
            "VAT DE123456789",
            "in12 months the fund returned nothing at all",
            "A4 paper and B5 paper are not the same size",
            "sku GB12-ABCD-1234-5678",
            "flight LH 1234 on 12 May, gate B42",
            "550e8400-e29b-41d4-a716-446655440000",
            "let de89 = 3704; let x = de89 + 44;",
            "licence plate M AB 1234",
            "model RS232 to USB2 to PS2",
        ],
    );
}

#[test]
fn emails() {
    check(
        "email",
        &[
            "Mail «jane@example.com».",
            "«jane.doe+news@mail.example.co.uk»",
            "<«JANE@EXAMPLE.COM»>",
            "mailto:«jane@example.com»?subject=x",
            "«o'brien@example.ie»",
            "«_jane@example.com_».",
            "«j@x.io»",
            "«jane_doe%x@example-site.org»",
            "«1234@qq.com»",
            "two: «a@example.com»,«b@example.com»",
            "«jane@sub.sub.sub.sub.example.com»",
            "wide «ｊａｎｅ＠ｅｘａｍｐｌｅ．ｃｏｍ»",
            "hidden «ja\u{200B}ne@exam\u{00AD}ple.com»",
            "umlauts «jörg@müller.de»",
            "'«jane@example.com»'",
            "in a table |«jane@example.com»|",
            "{\"to\":\"«jane@example.com»\"}",
            "in Chinese 请发邮件到«jane@example.com»。",
            "code `«jane@example.museum»`",
        ],
        &[
            "jane@localhost",
            "@jane on the forum",
            "@example.com",
            "jane@",
            "jane@example",
            "jane at example dot com",
            "a @ b.com",
            "icon@2x.png",
            "npm i react@18.2.0",
            "@app.route('/')",
            "x = a@b",
            "3 @ 4.50 each",
            "jane@.com",
            "user@host:22",
            "jane@example.c",
            "C# has @\"verbatim\".text",
        ],
    );
}

#[test]
fn phones() {
    check(
        "phone",
        &[
            "Call «+49 30 901820» now",
            "«+4930901820»",
            "«+1 (212) 555-0199»",
            "«+1-212-555-0199»",
            "«(212) 555-0199»",
            "«(212)555-0199».",
            "«212-555-0199»",
            "«212.555.0199»",
            "«1-800-555-0199»",
            "«555-123-4567»",
            "«+44 (0)20 7946 0958»",
            "«020 7946 0958»",
            "«07700 900123»",
            "«030 1234567»",
            "«(030) 1234567»",
            "«030/1234567»",
            "«0171-2345678»",
            "«01 23 45 67 89»",
            "«06-12345678»",
            "«+33 1 23 45 67 89»",
            "«+91 98765 43210»",
            "«+86 138 0013 8000»",
            "«0049 30 901820»",
            "tel:«+493090182012»",
            "no-break «+49\u{00A0}30\u{2011}901820»",
            "wide «＋４９ ３０ ９０１８２０»",
        ],
        &[
            "on 01.02.2023 10:00",
            "from 01.01.2024-31.12.2024",
            "on 01/02/2023 12:30",
            "(01.02.2023 10:00)",
            "2023-01-02 03:04:05",
            "2023-01-02T03:04:05Z",
            "order 1234567890",
            "order #20230102030405",
            "ISBN 978-3-16-148410-0",
            "0.123456789",
            "3.14159265358979",
            "1,234,567,890",
            "00123456789",
            "version 1.2.3.4",
            "at 09:30",
            "x = 5+1234567890;",
            "+5 degrees, +10 %",
            "+12.5 and +13.75",
            "550e8400-e29b-41d4-a716-446655440000",
            "10.0.0.1",
            "4111 1111 1111 1111",
            "Room 0815",
            "from 1990 to 2000",
        ],
    );
}

#[test]
fn us_ssns() {
    check(
        "us_ssn",
        &[
            "SSN «123-45-6789».",
            "«123 45 6789»",
            "«123.45.6789»",
            "ssn=«078-05-1120»;",
            "«899-99-9999»",
            "(«001-01-0001»)",
            "«123\u{2011}45\u{2011}6789»",
            "«123\u{2013}45\u{2013}6789»",
            "«１２３-４５-６７８９»",
            "«123\u{200B}-45-6789»",
            "\"«123-45-6789»\"",
            "two «123-45-6789», «123-45-6780»",
            "**«123-45-6789»**",
            "«_123-45-6789_»",
            "«123\u{00A0}45\u{00A0}6789»",
            "«१२३-४५-६७८९»",
        ],
        &[
            "000-12-3456",
            "666-12-3456",
            "900-12-3456",
            "987-65-4321",
            "123-00-6789",
            "123-45-0000",
            "123456789",
            "1123-45-6789",
            "123-45-67890",
            "123-456-7890",
            "12-345-6789",
            "2023-01-02",
            "ZIP 12345-6789",
            "978-3-16-148410-0",
            "123-45-678",
            "a123-45-6789b",
            "AC-12345678",
        ],
    );
}

#[test]
fn ipv4s() {
    check(
        "ipv4",
        &[
            "ping «10.0.0.1»",
            "«192.168.1.1».",
            "«255.255.255.255»",
            "«0.0.0.0»",
            "http://«127.0.0.1»:8080/x",
            "«10.0.0.0»/8",
            "[«8.8.8.8»]",
            "::ffff:«203.0.113.9»",
            "«１０．０．０．１»",
            "«10.0\u{200B}.0.1»",
            "two «10.0.0.1»,«10.0.0.2»",
            "«_10.0.0.1_»",
            "host=«172.16.254.1»;",
            "\"«100.64.0.1»\"",
            "«203.0.113.255»-x",
            "«198.51.100.42»\n",
        ],
        &[
            "256.1.1.1",
            "1.2.3",
            "10.0.0.256",
            "01.02.03.04",
            "1,2,3,4",
            "192.168.1.1000",
            "v1.2.3.4b",
            "Chrome/120.0.6099.109",
            "1 . 2 . 3 . 4",
            "1.2..3.4",
            "10.0.0.x",
            "01.02.2023",
            "3.14.15",
            "1.000.000,00",
            "10-0-0-1",
            "999.999.999.999",
        ],
    );
}

#[test]
fn ipv6s() {
    check(
        "ipv6",
        &[
            "ping «2001:db8::1»",
            "«2001:0db8:85a3:0000:0000:8a2e:0370:7334».",
            "«2001:DB8::8A2E:370:7334»",
            "«fe80::1»%eth0",
            "«fe80::»",
            "[«2001:db8::1»]:443",
            "«2001:db8::»/32",
            "«fd12:3456:789a::1»",
            "«ff02::1»",
            "«64:ff9b::1»",
            "http://[«2a00:1450:4001:82a::200e»]/",
            "«2606:4700:4700::1111», «2606:4700:4700::1001»",
            "«２００１:db8::1»",
            "«2001:db8\u{200B}::1»",
            "\"«2001:db8:0:0:1:0:0:1»\"",
            "«_2001:db8::1_»",
        ],
        &[
            "::1",
            "at 12:34:56",
            "00:1a:2b:3c:4d:5e",
            "f32::add(1.0)",
            "std::vec::Vec",
            "fade::bad",
            "a::b2::c3",
            "1:2:3:4",
            "ratio 16:9",
            "2001:db8",
            "John 3:16",
            "0:30",
            "key: value",
            "10:20:30:40:50:60:70:80",
            "abcd:ef01",
            "d41d8cd98f00b204e9800998ecf8427e",
            "2023-01-02T03:04:05",
        ],
    );
}
