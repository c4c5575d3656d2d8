//! `report.html`: all findings on one page that needs nothing from elsewhere.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::Experiment;
use super::result::{ExperimentResult, Machine, Table};

/// Light and dark as the reader's system has it; wide tables scroll by
/// themselves so that the page never does.
const STYLE: &str = "
:root{color-scheme:light dark;--ink:#222;--ground:#fff;--faint:#667;--line:#ccd;--card:#f4f6fa}
@media(prefers-color-scheme:dark){:root{--ink:#ddd;--ground:#181818;--faint:#99a;--line:#445;--card:#222630}}
body{margin:0 auto;padding:1rem;max-width:52rem;font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--ground)}
h1{line-height:1.2}h2{margin-top:3rem;border-top:1px solid var(--line);padding-top:1rem}
a{color:inherit}.faint{color:var(--faint)}
.finding{padding:.7rem 1rem;border-left:4px solid #0072b2;background:var(--card)}
.wide{overflow-x:auto}.wide svg{width:100%;min-width:30rem;height:auto;color:var(--ink);background:none!important}
table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums}
caption{text-align:left;font-weight:600;padding:.5rem 0}
th,td{padding:.15rem .6rem;text-align:left;border-bottom:1px solid var(--line);white-space:nowrap}
.number{text-align:right}dt{font-weight:600}dd{margin:0 0 .5rem;white-space:pre-wrap;overflow-wrap:anywhere}";

/// A part of the page: an experiment, what it found, and the figure as SVG.
pub struct PagePart<'a> {
    /// What was asked.
    pub experiment: &'a Experiment,
    /// What came out.
    pub outcome: &'a ExperimentResult,
    /// The figure.
    pub svg: &'a str,
}

/// The page, with the errors of what could not be measured.
pub fn page(place: &Machine, parts: &[PagePart<'_>], failed: &[(&Experiment, String)]) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width,initial-scale=1";
                title { "What SO_REUSEPORT does with datagrams" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "What " code { "SO_REUSEPORT" } " does with datagrams" }
                p.faint {
                    "Measured by " code { "shardns lab" } " (" (place.commit) ") on Linux "
                    (place.kernel) ", " (place.cpu) ", " (place.cpus) " CPUs, " (place.date) "."
                }
                ul {
                    @for part in parts {
                        li {
                            a href={ "#" (part.experiment.name) } { (part.experiment.question) }
                            " " (part.outcome.finding)
                        }
                    }
                    @for (experiment, error) in failed {
                        li { (experiment.question) " Not measured: " (error) }
                    }
                }
                main { @for part in parts { (section(part)) } }
            }
        }
    };
    page.into_string()
}

fn section(part: &PagePart<'_>) -> Markup {
    let Experiment {
        name,
        question,
        method,
        expectation,
        ..
    } = part.experiment;
    html! {
        section id=(name) {
            h2 { (question) }
            p.finding { (part.outcome.finding) }
            div.wide { (PreEscaped(part.svg)) }
            @for (number, shown) in part.outcome.tables.iter().enumerate() {
                @if number == 0 { (table(shown)) }
                @else { details { summary { (shown.title) } (table(shown)) } }
            }
            dl {
                dt { "Method" } dd { (method) }
                dt { "Expectation" } dd { (expectation) }
            }
            p.faint {
                code { "shardns lab " (name) } " · raw data: "
                a href={ (name) ".json" } { "JSON" } ", " a href={ (name) ".csv" } { "CSV" }
                " · figure: " a href={ (name) ".svg" } { "SVG" }
            }
        }
    }
}

fn table(table: &Table) -> Markup {
    let class = |column: usize| table.is_numeric(column).then_some("number");
    html! {
        div.wide {
            table {
                caption { (table.title) }
                thead {
                    tr { @for (column, heading) in table.header.iter().enumerate() { th class=[class(column)] { (heading) } } }
                }
                tbody {
                    @for row in &table.rows {
                        tr { @for (column, cell) in row.iter().enumerate() { td class=[class(column)] { (cell) } } }
                    }
                }
            }
        }
    }
}
