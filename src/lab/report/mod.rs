//! `report.html`: all findings on one page that needs nothing from elsewhere. A
//! card for each question first, then a section each.

mod section;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::compare::Comparison;
use super::figure::Size;
use super::place::{Machine, Surroundings};
use super::result::ExperimentResult;
use super::{Conditions, Experiment};

const STYLE: &str = include_str!("style.css");
const TITLE: &str = "What the kernel does with the sockets of a group";

/// What the page is made from.
pub struct Report<'a> {
    /// Where and when.
    pub place: &'a Machine,
    /// What the figures depend on beside the machine.
    pub surroundings: &'a Surroundings,
    /// What was chosen.
    pub conditions: &'a Conditions,
    /// What was found.
    pub parts: &'a [Part<'a>],
    /// What could not be measured, and why.
    pub failed: &'a [(&'a Experiment, String)],
}

/// An experiment's part of the page.
pub struct Part<'a> {
    /// What was asked.
    pub experiment: &'a Experiment,
    /// What came out.
    pub outcome: &'a ExperimentResult,
    /// Beside what came out elsewhere.
    pub comparison: Option<&'a Comparison>,
}

impl Report<'_> {
    /// The page.
    ///
    /// # Errors
    ///
    /// As `Panel::svg`.
    pub fn page(&self) -> anyhow::Result<String> {
        let cards = self
            .parts
            .iter()
            .map(card)
            .collect::<anyhow::Result<Vec<Markup>>>()?;
        let sections = self.parts.iter().map(section::section);
        let sections = sections.collect::<anyhow::Result<Vec<Markup>>>()?;
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width,initial-scale=1";
                    title { (TITLE) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    a.skip href="#questions" { "To the findings" }
                    (self.head())
                    main {
                        h2 id="questions" { "Questions and answers" }
                        div.cards { @for card in &cards { (card) } }
                        @for (experiment, error) in self.failed {
                            p.notice { (experiment.question) " Not measured: " (error) }
                        }
                        @for section in &sections { (section) }
                    }
                }
            }
        };
        Ok(page.into_string())
    }

    fn head(&self) -> Markup {
        let Machine {
            kernel,
            cpu,
            cpus,
            commit,
            date,
        } = self.place;
        html! {
            header {
                h1 { (TITLE) }
                p {
                    "Measured by " code { "shardns lab" } " (" (commit) ") on Linux " (kernel)
                    ", " (cpu) ", " (cpus) " CPUs, " (date) "."
                }
                @if self.conditions.quick {
                    p.notice role="note" {
                        "A quick run, to see that everything works: its figures say little. "
                        "Run it without " code { "--quick" } " for figures to rely on."
                    }
                }
                @if let Some(comparison) = self.parts.iter().find_map(|part| part.comparison) {
                    p { "Compared with a report of " (comparison.place()) "." }
                }
                details {
                    summary { "What the figures depend on" }
                    dl.settings {
                        @for (name, value) in &self.surroundings.settings {
                            dt { (name) } dd { (value) }
                        }
                    }
                }
            }
        }
    }
}

/// A text in which backticks hold what is to be typed; a number and its unit
/// stay on one line.
fn marked(text: &str) -> Markup {
    let units = [" %", " µs", " ns", " ms", " CPUs"];
    let text = units.into_iter().fold(text.to_owned(), |text, unit| {
        text.replace(unit, &unit.replace(' ', "\u{a0}"))
    });
    html! {
        @for (place, part) in text.split('`').enumerate() {
            @if place % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// A question, its answer, and the figure that shows it.
fn card(part: &Part<'_>) -> anyhow::Result<Markup> {
    let Experiment { name, question, .. } = part.experiment;
    let svg = part.outcome.figure.panels.first();
    let svg = svg.map(|panel| panel.svg(Size::Narrow)).transpose()?;
    Ok(html! {
        article.card {
            h3 { a href={ "#" (name) } { (question) } }
            p { (marked(&part.outcome.finding.sentence)) }
            @if let Some(comparison) = part.comparison {
                p.beside { "Beside the other report: " (comparison.sentence()) }
            }
            // The section shows and describes it again.
            @if let Some(svg) = svg { div.drawing aria-hidden="true" { (PreEscaped(svg)) } }
        }
    })
}
