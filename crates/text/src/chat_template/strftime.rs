//! Python's `strftime` in UTC and the C locale, as far as templates name dates.

const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Formats a time, given in seconds since 1970; the error says which directive is not known.
pub(super) fn format(format: &str, unix_s: i64) -> Result<String, String> {
    let time = Civil::from_unix_s(unix_s);
    let mut text = String::new();
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let directive = rest.next().unwrap_or('%');
        let field = match directive {
            '-' => time
                .field(rest.next().unwrap_or('-'))
                .map(|field| unpadded(&field)),
            _ => time.field(directive),
        };
        let known =
            "the directives known are %a %A %b %B %d %e %H %I %j %m %M %p %S %y %Y %F %T %%";
        text.push_str(&field.ok_or_else(|| format!("strftime has no %{directive} here; {known}"))?);
    }
    Ok(text)
}

fn unpadded(field: &str) -> String {
    let digits = field.trim_start_matches(['0', ' ']);
    if digits.is_empty() { "0" } else { digits }.to_owned()
}

/// A time on the Gregorian calendar.
struct Civil {
    year: i64,
    /// From 1.
    month: usize,
    day: i64,
    /// From 0 on Sunday.
    weekday: usize,
    day_of_year: i64,
    second_of_day: i64,
}

impl Civil {
    /// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
    fn from_unix_s(unix_s: i64) -> Self {
        let days = unix_s.div_euclid(86_400);
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_march_year =
            day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_march_year + 2) / 153;
        let month = if march_month < 10 {
            march_month + 3
        } else {
            march_month - 9
        };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let day = day_of_march_year - (153 * march_month + 2) / 5 + 1;
        Self {
            year,
            month: month as usize,
            day,
            weekday: (days + 4).rem_euclid(7) as usize,
            day_of_year: day_of_year(year, month, day),
            second_of_day: unix_s.rem_euclid(86_400),
        }
    }

    fn field(&self, directive: char) -> Option<String> {
        let (hour, minute) = (self.second_of_day / 3_600, self.second_of_day / 60 % 60);
        let second = self.second_of_day % 60;
        Some(match directive {
            'a' => WEEKDAYS[self.weekday][..3].to_owned(),
            'A' => WEEKDAYS[self.weekday].to_owned(),
            'b' => MONTHS[self.month - 1][..3].to_owned(),
            'B' => MONTHS[self.month - 1].to_owned(),
            'd' => format!("{:02}", self.day),
            'e' => format!("{:2}", self.day),
            'H' => format!("{hour:02}"),
            'I' => format!("{:02}", (hour + 11) % 12 + 1),
            'j' => format!("{:03}", self.day_of_year),
            'm' => format!("{:02}", self.month),
            'M' => format!("{minute:02}"),
            'p' => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            'S' => format!("{second:02}"),
            'y' => format!("{:02}", self.year.rem_euclid(100)),
            'Y' => self.year.to_string(),
            'F' => format!("{}-{:02}-{:02}", self.year, self.month, self.day),
            'T' => format!("{hour:02}:{minute:02}:{second:02}"),
            '%' => "%".to_owned(),
            _ => return None,
        })
    }
}

fn day_of_year(year: i64, month: i64, day: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let before = (367 * month - 362) / 12;
    let short_february = if month <= 2 {
        0
    } else if leap {
        1
    } else {
        2
    };
    before - short_february + day
}
