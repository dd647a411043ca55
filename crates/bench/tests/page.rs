//! The page of a benchmark: whole, self-contained, true to its reports, and unmoved by what they
//! say.

#![expect(clippy::unwrap_used, reason = "what is not as expected fails the test")]

#[path = "page/synthetic.rs"]
mod synthetic;

use std::fs;
use std::path::Path;

use portcullis_bench::outcome::{Chunk, GateCost, Outcome};
use portcullis_bench::page::{self, Named, PlotArgs, PlotError, Source};
use portcullis_bench::report::{Environment, Report, Summary, SweepReport};
use roxmltree::{Document, Node};
use synthetic::{SPEC, Spec, report};

/// Where the pages of these tests are left, for `scripts/bench-page-check`.
const PAGES: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/bench-page");

fn named(label: &str, report: Report) -> Named {
    Named {
        label: label.to_owned(),
        series: None,
        report,
    }
}

fn page(reports: Vec<Named>) -> String {
    page::html(reports, None).expect("the template is right")
}

/// A page, left for looking at too.
fn kept(name: &str, reports: Vec<Named>) -> String {
    let page = page(reports);
    fs::create_dir_all(PAGES).unwrap();
    fs::write(Path::new(PAGES).join(name).with_extension("html"), &page).unwrap();
    page
}

/// Two servers under five loads each.
fn sweep() -> Vec<Named> {
    let servers = [
        ("old", "portcullis 0.1.0", (0.018, 0.0024)),
        ("new", "portcullis 0.2.0", (0.015, 0.0009)),
    ];
    let loads = [16, 1, 4, 32, 64];
    let runs = servers.into_iter().flat_map(|(name, server, step)| {
        loads.map(|concurrency| {
            let requests = 30 + concurrency * 4;
            let spec = Spec {
                server,
                step,
                concurrency,
                requests,
                ..SPEC
            };
            named(&format!("{name}-c{concurrency}"), report(&spec))
        })
    });
    runs.collect()
}

/// One request of two chunks, and one that failed: small enough to be read.
fn tiny() -> Report {
    let answered = Outcome {
        index: 0,
        due: 0.0,
        sent: 0.1,
        ended: 0.9,
        input_tokens: 8,
        output_tokens: 4,
        chunks: vec![
            Chunk {
                at: 0.3,
                tokens: 1.0,
            },
            Chunk {
                at: 0.9,
                tokens: 3.0,
            },
        ],
        error: None,
        gate: Some(GateCost {
            first_held: 0.0,
            held: 0.02,
            attempts: 2,
            discarded_tokens: 3,
            ..GateCost::default()
        }),
        ..Outcome::default()
    };
    let failed = Outcome {
        index: 1,
        sent: 0.2,
        ended: 0.25,
        error: Some("429 Too Many Requests".to_owned()),
        ..Outcome::default()
    };
    let latencies = [
        ("median_ttft_ms", 200.0),
        ("median_tpot_ms", 200.0),
        ("p99.9_itl_ms", 600.0),
    ];
    let summary = Summary {
        completed: 1,
        failed: 1,
        duration: 1.0,
        max_concurrency: Some(2),
        total_input_tokens: 8,
        total_output_tokens: 4,
        request_throughput: 1.0,
        output_throughput: 4.0,
        total_token_throughput: 12.0,
        latencies: latencies.map(|(key, value)| (key.to_owned(), value)).into(),
        ..Summary::default()
    };
    let environment = Environment {
        model: "tiny".to_owned(),
        command: vec!["portcullis".to_owned(), "it's".to_owned()],
        ..Environment::default()
    };
    synthetic::of(
        summary.clone(),
        vec![summary],
        environment,
        vec![answered, failed],
    )
}

/// All drawings of a page, each a document that an XML reader takes.
fn drawings(page: &str) -> Vec<&str> {
    let starts = page.match_indices("<svg").map(|(at, _)| at);
    let drawings = starts.map(|at| {
        let end = page[at..].find("</svg>").expect("every drawing ends");
        &page[at..at + end + "</svg>".len()]
    });
    drawings.collect()
}

fn with_class(document: &Document<'_>, class: &str) -> usize {
    let has = |node: &Node<'_, '_>| {
        let classes = node.attribute("class").unwrap_or_default();
        classes.split(' ').any(|word| word == class)
    };
    document.descendants().filter(has).count()
}

/// How many elements of that class there are in all drawings.
fn count(page: &str, class: &str) -> usize {
    let documents = drawings(page)
        .into_iter()
        .map(|svg| Document::parse(svg).expect(svg));
    documents.map(|document| with_class(&document, class)).sum()
}

/// The rows of the headline: its name, and value and text of each cell.
fn headline(page: &str) -> Vec<(String, Vec<(f64, String)>)> {
    let tables = page.split("<table class=\"headline\">").skip(1);
    let tables = tables.map(|table| table.split_once("</table>").unwrap().0);
    let rows = tables
        .flat_map(|table| table.split("<summary>").skip(1))
        .map(|row| {
            let (name, cells) = row.split_once("</summary>").unwrap();
            let cells = cells.split("<data value=\"").skip(1).map(|cell| {
                let (value, rest) = cell.split_once("\">").unwrap();
                let shown = rest.split_once('<').unwrap().0;
                (value.parse().unwrap(), shown.to_owned())
            });
            (name.to_owned(), cells.collect())
        });
    rows.collect()
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let (_, rest) = text.split_once(from).expect(from);
    rest.split_once(to).expect(to).0
}

#[test]
fn a_tiny_report_reads_as_it_did() {
    insta::assert_snapshot!(page(vec![named("tiny", tiny())]));
}

#[test]
fn every_drawing_is_well_formed_and_has_its_parts() {
    let spec = Spec {
        failing: 20,
        gate: true,
        ..SPEC
    };
    let page = kept("single", vec![named("single", report(&spec))]);
    // Interactivity, three latencies, two holds, attempts, timeline.
    assert_eq!(drawings(&page).len(), 8);
    assert_eq!(count(&page, "point"), 1);
    assert_eq!(count(&page, "whisker"), 2, "intervals from three repeats");
    assert_eq!(count(&page, "curve"), 5);
    assert_eq!(
        count(&page, "stream"),
        200 + 1,
        "every request, and the key"
    );
    assert_eq!(count(&page, "broken"), 10);
    assert_eq!(count(&page, "chart"), 2);
    assert!(page.contains("Requests that failed: 10 of 200."));
}

#[test]
fn a_sweep_draws_a_line_a_server_through_a_point_a_run() {
    let page = kept("sweep", sweep());
    let drawing = Document::parse(drawings(&page)[10]).unwrap();
    assert_eq!(
        with_class(&drawing, "point"),
        10,
        "after the keys of ten runs"
    );
    let lines = drawing
        .descendants()
        .filter(|n| n.attribute("class") == Some("line c0"));
    let path = lines
        .map(|n| n.attribute("d").unwrap().to_owned())
        .next()
        .unwrap();
    let places: Vec<f64> = path[1..]
        .split('L')
        .map(|place| place.split_once(' ').unwrap().0.parse().unwrap())
        .collect();
    assert_eq!(places.len(), 5);
    assert!(
        places.is_sorted_by(|a, b| a > b),
        "more streams, less for each: {places:?}"
    );
}

#[test]
fn the_page_asks_nothing_of_anybody() {
    const REFERENCES: [&str; 9] = [
        "http:", "https:", "\"//", "url(", "@import", "<script", "<link", "<iframe", "src=",
    ];
    for page in [page(sweep()), page(vec![named("tiny", tiny())])] {
        let page = page.to_lowercase();
        for reference in REFERENCES {
            assert!(!page.contains(reference), "{reference}");
        }
        assert_eq!(handlers(&page), Vec::<&str>::new());
        assert!(page.contains("default-src 'none'"));
    }
}

/// Attributes that would run something: `onclick=` and its like.
fn handlers(page: &str) -> Vec<&str> {
    let names = page
        .split(" on")
        .skip(1)
        .filter_map(|rest| rest.split_once('='));
    let names = names.map(|(name, _)| name);
    let is_word = |name: &&str| name.chars().all(|c| c.is_ascii_alphabetic());
    names.filter(is_word).collect()
}

#[test]
fn what_a_report_says_stays_text() {
    const ATTACKS: [&str; 4] = [
        "</script><script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "</style></svg></title><svg onload=alert(1)>",
        "{{ 7 * 7 }}{% raw %}",
    ];
    for attack in ATTACKS {
        let text = || attack.to_owned();
        let mut report = tiny();
        report.environment = Environment {
            date: text(),
            command: vec![text()],
            cpu: text(),
            gpu: Some(text()),
            driver: Some(text()),
            commit: Some(text()),
            model: text(),
            model_digest: Some(text()),
            server: Some(text()),
        };
        report.requests[1].error = Some(text());
        report
            .summary
            .latencies
            .insert(format!("{attack}_ttft_ms"), 1.0);
        report
            .summary
            .latencies
            .insert(format!("p{attack}_ttft_ms"), 1.0);
        let runs = vec![named(attack, report.clone()), named(attack, report)];
        let page = page::html(runs, Some(attack)).unwrap();
        let harmless = page::html(vec![named("a", tiny()), named("a", tiny())], Some("title"));
        assert_eq!(tags(&page), tags(&harmless.unwrap()), "{attack}");
        assert!(!page.contains("alert(1)>"), "{attack}");
        assert!(page.contains("7 * 7") == attack.contains("7 * 7"));
        drawings(&page)
            .into_iter()
            .for_each(|svg| drop(Document::parse(svg).expect(svg)));
    }
}

/// Names of elements that scripts or other pages could come in by, and how many there are in all.
fn tags(page: &str) -> Vec<String> {
    let tags = page.match_indices('<').map(|(at, _)| {
        let rest = &page[at + 1..];
        let end = rest
            .find(|c: char| c.is_whitespace() || c == '>')
            .unwrap_or(rest.len());
        rest[..end].to_owned()
    });
    let mut tags: Vec<String> = tags.collect();
    tags.sort();
    tags.dedup();
    tags
}

#[test]
fn every_figure_of_the_headline_is_in_the_report() {
    let report = report(&Spec { gate: true, ..SPEC });
    let page = page(vec![named("run", report.clone())]);
    let summary = serde_json::to_value(&report.summary).unwrap();
    let gate = serde_json::to_value(&report.summary.gate).unwrap();
    let fields = [summary, gate].map(|value| value.as_object().unwrap().clone());
    let values = fields.iter().flat_map(|fields| fields.values());
    let numbers: Vec<f64> = values.filter_map(|value| value.as_f64()).collect();
    let rows = headline(&page);
    assert!(rows.len() >= 20, "{rows:?}");
    for (name, cells) in rows {
        let [(value, shown)] = &cells[..] else {
            panic!("{name}: {cells:?}")
        };
        assert!(numbers.contains(value), "{name}: {value}");
        let shown: f64 = shown.replace(',', "").parse().unwrap();
        assert!(
            (shown - value).abs() <= value.abs() * 0.005,
            "{name}: {shown} for {value}"
        );
    }
}

#[test]
fn the_headline_names_each_figure_after_its_field() {
    let mut report = tiny();
    report
        .summary
        .latencies
        .insert("p90_ttft_ms".to_owned(), 321.0);
    let page = page(vec![named("run", report)]);
    let rows = headline(&page);
    let value = |name: &str| {
        let row = rows.iter().find(|(row, _)| row == name).expect(name);
        row.1[0].0
    };
    assert_eq!(value("Failed"), 1.0);
    assert_eq!(value("Output throughput"), 4.0);
    assert_eq!(value("TTFT, median"), 200.0);
    assert_eq!(value("TTFT, p90"), 321.0);
    assert_eq!(value("ITL, p99.9"), 600.0);
}

#[test]
fn repeats_give_intervals() {
    let mut report = report(&SPEC);
    for (repeat, throughput) in report.repeats.iter_mut().zip([10.0, 12.0, 14.0]) {
        repeat.output_throughput = throughput;
    }
    let repeated = page(vec![named("run", report.clone())]);
    let row = between(&repeated, "<summary>Output throughput", "</tr>");
    assert!(row.contains("± 4.97"), "{row}");
    report.repeats.truncate(1);
    let once = page(vec![named("run", report)]);
    assert!(!once.contains("class=\"interval\""));
}

#[test]
fn what_the_harness_notes_stands_above() {
    let mut noted = tiny();
    noted.notes = vec!["the client is the bottleneck".to_owned()];
    let alone = page(vec![named("run", noted.clone())]);
    assert!(alone.contains("role=\"status\">the client is the bottleneck</p>"));
    let runs = [("a", noted.clone()), ("b", noted), ("c", tiny())];
    let several = page(runs.map(|(label, report)| named(label, report)).into());
    assert!(several.contains("role=\"status\">a, b: the client is the bottleneck</p>"));
}

#[test]
fn the_gate_tells_its_dearest_rule_first_and_draws_no_line_of_noughts() {
    let mut report = report(&Spec { gate: true, ..SPEC });
    let page = page(vec![named("run", report.clone())]);
    let rules = between(&page, "by rule, as a table", "</table>");
    let texts = ["no-cards", "1.90 µs", "no-phones"];
    let places = texts.iter().map(|text| rules.find(text).expect(text));
    assert!(places.is_sorted(), "{rules}");
    assert_eq!(count(&page, "curve"), 5);
    for outcome in &mut report.requests {
        let gate = outcome.gate.as_mut().unwrap();
        (gate.first_held, gate.held) = (0.0, 0.0);
    }
    let unheld = self::page(vec![named("run", report)]);
    assert_eq!(count(&unheld, "curve"), 3);
    assert_eq!(
        unheld.matches("No time at all, in every request.").count(),
        2
    );
}

#[test]
fn failures_are_seen() {
    let page = page(vec![named("tiny", tiny())]);
    assert!(page.contains("Requests that failed: 1 of 2."));
    let failures = between(&page, "<section id=\"failures\">", "</section>");
    assert!(failures.contains("429 Too Many Requests"));
    assert_eq!(count(&page, "broken"), 1);
    let well = self::page(vec![named("well", report(&SPEC))]);
    assert!(!well.contains("They count in no latency"));
    assert!(!well.contains("id=\"failures\""));
}

#[test]
fn a_report_without_requests_says_so() {
    let empty = synthetic::of(
        Summary::default(),
        Vec::new(),
        Environment::default(),
        Vec::new(),
    );
    let page = kept("empty", vec![named("empty", empty.clone())]);
    assert!(page.contains("No request was made"));
    assert_eq!(drawings(&page).len(), 0);
    // Beside a run that has some, it is a row of nothing.
    let both = self::page(vec![named("empty", empty), named("tiny", tiny())]);
    assert!(!both.contains("No request was made"));
    assert_eq!(count(&both, "point"), 1);
}

#[test]
fn a_run_that_only_failed_has_a_timeline_and_no_latencies() {
    let mut report = tiny();
    report.requests.remove(0);
    report.summary = Summary {
        failed: 1,
        ..Summary::default()
    };
    let page = kept("failed", vec![named("failed", report)]);
    assert_eq!(count(&page, "broken"), 1);
    assert_eq!(
        page.matches("The reports hold no values for this plot")
            .count(),
        4
    );
}

#[test]
fn a_crowd_is_drawn_in_part_and_counted_whole() {
    let spec = Spec {
        requests: 5000,
        concurrency: 300,
        repeats: 1,
        failing: 1000,
        ..SPEC
    };
    let page = kept("crowd", vec![named("crowd", report(&spec))]);
    assert_eq!(count(&page, "stream"), 2000 + 1);
    assert_eq!(count(&page, "broken"), 5);
    assert!(page.contains("Requests of the last repeat: 5,000; failed: 5. Drawn: 2,000, those"));
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
}

#[test]
fn absurd_values_leave_a_page_that_can_be_read() {
    for absurd in [-1e300, -1.0, 0.0, 1e-300, 1e300] {
        let mut report = tiny();
        let request = &mut report.requests[0];
        (request.sent, request.ended) = (absurd, absurd);
        request.chunks[1].at = absurd;
        request.chunks[0].tokens = absurd;
        request.output_tokens = usize::MAX;
        request.gate = Some(GateCost {
            first_held: absurd,
            held: absurd,
            attempts: u64::MAX,
            discarded_tokens: u64::MAX,
            ..GateCost::default()
        });
        report.summary.output_throughput = absurd;
        report.summary.request_rate = Some(absurd);
        report
            .summary
            .latencies
            .insert("median_tpot_ms".to_owned(), absurd);
        report.repeats = vec![report.summary.clone(); 2];
        let page = page(vec![named("absurd", report)]);
        for svg in drawings(&page) {
            let svg = Document::parse(svg).expect(svg).input_text().to_owned();
            assert!(
                !svg.contains("NaN") && !svg.contains("inf\""),
                "{absurd}: {svg}"
            );
        }
    }
}

#[test]
fn plot_writes_where_it_is_told_and_else_beside_the_report() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("night=run.json");
    fs::write(&path, serde_json::to_vec(&tiny()).unwrap()).unwrap();
    let mut args = PlotArgs {
        reports: vec![path.to_str().unwrap().parse().unwrap()],
        output: None,
        title: Some("A night's work".to_owned()),
    };
    let beside = page::plot(&args).unwrap();
    assert_eq!(beside, folder.path().join("night=run.html"));
    let page = fs::read_to_string(beside).unwrap();
    assert!(page.contains("night=run") && page.contains("A night&#x27;s work"));
    args.output = Some(folder.path().join("told.html"));
    assert_eq!(page::plot(&args).unwrap(), folder.path().join("told.html"));
}

#[test]
fn a_sweep_is_a_line_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let sources = ["before", "after"].map(|name| {
        let loads = [1, 4, 16].map(|concurrency| Spec {
            concurrency,
            requests: 40,
            ..SPEC
        });
        let sweep = SweepReport {
            axis: "max_concurrency".to_owned(),
            knee: None,
            points: loads.iter().map(report).collect(),
        };
        let path = folder.path().join(name).with_extension("json");
        fs::write(&path, serde_json::to_vec(&sweep).unwrap()).unwrap();
        path.to_str().unwrap().parse().unwrap()
    });
    let args = PlotArgs {
        reports: sources.into(),
        output: None,
        title: None,
    };
    let page = fs::read_to_string(page::plot(&args).unwrap()).unwrap();
    assert_eq!(count(&page, "point"), 6);
    let drawing = Document::parse(drawings(&page)[6]).unwrap();
    assert_eq!(with_class(&drawing, "line"), 2);
    assert!(page.contains("before-1") && page.contains("after-3"));
}

#[test]
fn a_series_is_named_before_its_file() {
    let source: Source = "before=runs/c16.json".parse().unwrap();
    assert_eq!(source.series.as_deref(), Some("before"));
    assert_eq!(source.path, Path::new("runs/c16.json"));
}

#[test]
fn what_is_no_report_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.json");
    let args = |path: &Path| PlotArgs {
        reports: vec![path.to_str().unwrap().parse().unwrap()],
        output: None,
        title: None,
    };
    let missing = page::plot(&args(&path)).unwrap_err();
    assert!(matches!(missing, PlotError::Read { .. }), "{missing}");
    fs::write(&path, "{}").unwrap();
    let other = page::plot(&args(&path)).unwrap_err();
    assert!(matches!(other, PlotError::NotAReport { .. }), "{other}");
    assert!(other.to_string().contains("other.json"));
}
