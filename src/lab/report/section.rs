//! A section of the page: verdict, figure, what to do about it, tables, method,
//! raw data.

use maud::{Markup, PreEscaped, html};

use super::{Part, marked};
use crate::lab::Experiment;
use crate::lab::compare::Comparison;
use crate::lab::figure::{Panel, Size};
use crate::lab::result::Table;

/// The section.
///
/// # Errors
///
/// As `Panel::svg`.
pub fn section(part: &Part<'_>) -> anyhow::Result<Markup> {
    let Experiment {
        name,
        question,
        method,
        expectation,
        practice,
        ..
    } = part.experiment;
    let finding = &part.outcome.finding;
    let panels = part.outcome.figure.panels.iter().map(drawing);
    let drawings = panels.collect::<anyhow::Result<Vec<Markup>>>()?;
    let heading = format!("{name}-question");
    Ok(html! {
        section id=(name) aria-labelledby=(heading) {
            h2 id=(heading) { (question) }
            div.columns {
                div.shown {
                    p.verdict { (marked(&finding.sentence)) }
                    @if !finding.notes.is_empty() {
                        ul { @for note in &finding.notes { li { (marked(note)) } } }
                    }
                    @for drawing in &drawings { (drawing) }
                }
                div.told {
                    h3 { "In practice" }
                    ul.practice {
                        @for practice in *practice {
                            li { (marked(practice.advice)) " " cite { (marked(practice.source)) } }
                        }
                    }
                    h3 { "Figures" }
                    @for shown in &part.outcome.tables {
                        details open[std::ptr::eq(shown, &part.outcome.tables[0])] {
                            summary { (shown.title) }
                            (table(shown))
                        }
                    }
                    @if let Some(comparison) = part.comparison { (compared(comparison)) }
                    h3 { "Method" }
                    p { (marked(method)) }
                    h3 { "What was expected" }
                    p { (marked(expectation)) }
                    p.faint {
                        code { "shardns lab " (name) } " · raw data: "
                        a href={ (name) ".json" } { "JSON" } ", " a href={ (name) ".csv" } { "CSV" }
                        " · figure: " a href={ (name) ".svg" } { "SVG" }
                        " · " a href="#questions" { "all questions" }
                    }
                }
            }
        }
    })
}

/// A panel, drawn for a desk and for a phone; the page shows the one that fits.
fn drawing(panel: &Panel) -> anyhow::Result<Markup> {
    let [wide, narrow] = [panel.svg(Size::Wide)?, panel.svg(Size::Narrow)?];
    Ok(html! {
        figure {
            figcaption { strong { (panel.title) } }
            div.drawing.wide { (PreEscaped(wide)) }
            div.drawing.narrow { (PreEscaped(narrow)) }
            p.faint { (panel.caption()) }
        }
    })
}

fn compared(comparison: &Comparison) -> Markup {
    html! {
        h3 { "Beside another report" }
        p { strong { (comparison.sentence()) } " There: " (marked(&comparison.there.finding.sentence)) }
        details {
            @let shown = comparison.table();
            summary { (shown.title) }
            (table(&shown))
        }
    }
}

/// A wide table is scrolled by itself, with the keyboard too.
fn table(table: &Table) -> Markup {
    let class = |column: usize| table.is_numeric(column).then_some("number");
    html! {
        div.scrolled tabindex="0" role="group" aria-label=(table.title) {
            table {
                thead {
                    tr {
                        @for (column, heading) in table.header.iter().enumerate() {
                            th scope="col" class=[class(column)] { (heading) }
                        }
                    }
                }
                tbody {
                    @for row in &table.rows {
                        tr class=[row.first().is_some_and(|cell| cell == "*").then_some("marked")] {
                            @for (column, cell) in row.iter().enumerate() {
                                td class=[class(column)] { (cell) }
                            }
                        }
                    }
                }
            }
        }
    }
}
