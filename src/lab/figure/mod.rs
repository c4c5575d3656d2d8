//! Figures: an experiment says what belongs on which axis, with the figures of
//! every round, and the panels are drawn as SVG with plotters, each wide for a
//! desk and narrow for a phone. What is drawn, told and compared are the same
//! samples: `Panel::samples` hands them out by name.
//!
//! Colours work on light and on dark ground; text and axes take the colour of
//! the page. Whatever a colour tells, a word or a shape tells too.

mod bars;
mod canvas;
mod described;
mod lines;
mod matrix;

use plotters::prelude::*;
use serde::{Deserialize, Serialize};

use super::statistics::Sample;
use canvas::{Area, Canvas, failed};
pub use canvas::{Size, grouped, number};

/// What an experiment draws: panels, one below the other, the most telling
/// first.
#[derive(Clone, Debug, Default)]
pub struct Figure {
    /// The panels.
    pub panels: Vec<Panel>,
}

/// One drawing.
#[derive(Clone, Debug)]
pub struct Panel {
    /// What it shows.
    pub title: String,
    /// The drawing.
    pub drawing: Drawing,
}

/// The kinds of drawings.
#[derive(Clone, Debug)]
pub enum Drawing {
    /// Figures that depend on a number.
    Lines(Lines),
    /// Figures that depend on a kind.
    Bars(Bars),
    /// Kinds that depend on two kinds.
    Matrix(Matrix),
}

/// Lines over a common axis.
#[derive(Clone, Debug)]
pub struct Lines {
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The lines.
    pub series: Vec<Line>,
    /// A band behind them.
    pub band: Option<Band>,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its name, which stands at its end.
    pub name: String,
    /// x, and what the rounds gave there.
    pub points: Vec<(f64, Sample)>,
}

/// What figures are expected to keep to.
#[derive(Clone, Debug)]
pub struct Band {
    /// Its name.
    pub name: String,
    /// x, lower and upper end.
    pub ends: Vec<(f64, f64, f64)>,
}

/// An axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it counts, and in which unit.
    pub label: String,
    /// True where equal steps are equal factors; all figures are above 0 then.
    pub logarithmic: bool,
}

/// Bars in groups, from left to right.
#[derive(Clone, Debug)]
pub struct Bars {
    /// What they count, and in which unit. On a logarithmic axis, which has no
    /// 0 that lengths could be taken from, they are points.
    pub x: Axis,
    /// Names of the groups.
    pub groups: Vec<String>,
    /// The bars of a kind.
    pub series: Vec<BarSeries>,
    /// What each bar is expected to keep to: a name, the lower and the upper end.
    pub band: Option<(String, f64, f64)>,
}

/// The bars of a kind, one a group.
#[derive(Clone, Debug)]
pub struct BarSeries {
    /// The kind's name; it does not matter where there is one kind only.
    pub name: String,
    /// One a group; an empty sample where nothing was measured.
    pub samples: Vec<Sample>,
}

/// A table of words, coloured.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// What the rows are.
    pub down: String,
    /// What the columns are.
    pub across: String,
    /// Names of the rows.
    pub rows: Vec<String>,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Cells by row: words, and how they are coloured.
    pub cells: Vec<Vec<(String, Shade)>>,
    /// What the words and the colours mean, in a sentence or two.
    pub legend: String,
}

/// How a cell is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shade {
    /// It works.
    Good,
    /// It does not.
    Bad,
    /// It works, and not as hoped.
    Warned,
    /// It is worth a look.
    Marked,
    /// Nothing.
    Unmarked,
}

/// A sample of a panel, by a name that is the same from run to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Named {
    /// Panel, group and series.
    pub name: String,
    /// What it counts, and in which unit.
    pub unit: String,
    /// What the rounds gave.
    #[serde(rename = "each")]
    pub sample: Sample,
}

/// Words of a panel, by a name that is the same from run to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NamedWords {
    /// Panel, row and column.
    pub name: String,
    /// What stands there.
    pub words: String,
}

impl Axis {
    /// An axis of equal steps.
    pub fn linear(label: &str) -> Axis {
        Axis {
            label: label.into(),
            logarithmic: false,
        }
    }

    /// True where lengths may be compared.
    pub fn begins_at_0(&self) -> bool {
        !self.logarithmic
    }

    /// An axis of equal factors.
    pub fn logarithmic(label: &str) -> Axis {
        Axis {
            label: label.into(),
            logarithmic: true,
        }
    }
}

/// What stands above and below a panel where nothing else tells it.
const TITLE_HEIGHT: u32 = 30;
const CAPTION_HEIGHT: u32 = 30;

impl Figure {
    /// The whole figure as one file, with titles and captions, which takes its
    /// ground and ink from the viewer's preference for light or dark.
    ///
    /// # Errors
    ///
    /// What plotters says; figures that are not numbers, for one.
    pub fn svg(&self) -> anyhow::Result<String> {
        const STYLE: &str = "<style>:root{color:#222;background:#fff}\
@media(prefers-color-scheme:dark){:root{color:#ddd;background:#181818}}</style>";
        let size = Size::Wide;
        let height = |panel: &Panel| panel.height(size) + TITLE_HEIGHT + CAPTION_HEIGHT;
        let heights: u32 = self.panels.iter().map(height).sum();
        let described: Vec<String> = self.panels.iter().map(Panel::description).collect();
        drawn(size, heights, STYLE, &described.join(" "), |root| {
            let mut rest = root.clone();
            for panel in &self.panels {
                let (area, below) = rest.split_vertically(height(panel));
                let (title, area) = area.split_vertically(TITLE_HEIGHT);
                let (drawing, caption) = area.split_vertically(panel.height(size));
                Canvas::new(&title, size).heading(&panel.title)?;
                panel.draw(&drawing, size)?;
                Canvas::new(&caption, size).caption(&panel.caption())?;
                rest = below;
            }
            Ok(())
        })
    }

    /// All words of matrices, by names that are the same from run to run.
    pub fn words(&self) -> Vec<NamedWords> {
        self.panels.iter().flat_map(Panel::words).collect()
    }

    /// All samples, by names that are the same from run to run.
    pub fn samples(&self) -> Vec<Named> {
        self.panels.iter().flat_map(Panel::samples).collect()
    }
}

impl Panel {
    /// The drawing alone, as wide as asked, in the ink of the page around it.
    /// Title and caption are left to that page.
    ///
    /// # Errors
    ///
    /// As `Figure::svg`.
    pub fn svg(&self, size: Size) -> anyhow::Result<String> {
        let height = self.height(size);
        drawn(size, height, "", &self.description(), |root| {
            self.draw(root, size)
        })
    }

    fn height(&self, size: Size) -> u32 {
        match &self.drawing {
            Drawing::Lines(_) => Lines::height(size),
            Drawing::Bars(bars) => bars.height(),
            Drawing::Matrix(matrix) => matrix.height(size),
        }
    }

    fn draw(&self, area: &Area<'_>, size: Size) -> anyhow::Result<()> {
        let canvas = Canvas::new(area, size);
        match &self.drawing {
            Drawing::Lines(lines) => lines.draw(&canvas),
            Drawing::Bars(bars) => bars.draw(&canvas),
            Drawing::Matrix(matrix) => matrix.draw(&canvas),
        }
    }
}

/// SVG of what `draw` puts on an empty area.
fn drawn(
    size: Size,
    height: u32,
    style: &str,
    description: &str,
    draw: impl FnOnce(&Area<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<String> {
    let mut text = String::new();
    let root = SVGBackend::with_string(&mut text, (size.width(), height)).into_drawing_area();
    draw(&root)?;
    root.present().map_err(failed)?;
    drop(root);
    // plotters writes colours only; the page chooses the ink.
    let text = text.replace("#000000", "currentColor");
    let label = description
        .replace('&', "&amp;")
        .replace('"', "&quot;")
        .replace('<', "&lt;");
    let opened = format!("<svg role=\"img\" aria-label=\"{label}\" ");
    let text = text.replacen("<svg ", &opened, 1);
    Ok(text.replacen('>', &format!(">{style}"), 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(each: &[f64]) -> Sample {
        Sample::new(each.to_vec())
    }

    fn lines(logarithmic: bool) -> Panel {
        let axis = |label: &str| Axis {
            label: label.into(),
            logarithmic,
        };
        let line = |name: &str, points| Line {
            name: name.into(),
            points,
        };
        let drawing = Drawing::Lines(Lines {
            x: axis("flows"),
            y: axis("share"),
            series: vec![
                line(
                    "hash",
                    vec![(1.0, sample(&[2.0, 1.5, 1.75])), (4096.0, sample(&[1.1]))],
                ),
                line("random", vec![(1.0, sample(&[1.0])), (8.0, sample(&[1.0]))]),
            ],
            band: Some(Band {
                name: "chance".into(),
                ends: vec![(1.0, 1.0, 2.0), (4096.0, 1.0, 1.2)],
            }),
        });
        Panel {
            title: "Shares <of> flows".into(),
            drawing,
        }
    }

    fn bars(logarithmic: bool) -> Panel {
        let series = |name: &str, samples| BarSeries {
            name: name.into(),
            samples,
        };
        Panel {
            title: "Rates".into(),
            drawing: Drawing::Bars(Bars {
                x: Axis {
                    label: "answers/s".into(),
                    logarithmic,
                },
                groups: vec!["reuseport".into(), "shared".into()],
                series: vec![
                    series("one", vec![sample(&[2e5, 1e5]), sample(&[1e5])]),
                    series("two", vec![sample(&[]), sample(&[3.0])]),
                ],
                band: Some(("by chance".into(), 10.0, 20.0)),
            }),
        }
    }

    fn matrix() -> Panel {
        Panel {
            title: "Who may bind".into(),
            drawing: Drawing::Matrix(Matrix {
                down: "first".into(),
                across: "second".into(),
                rows: vec!["neither".into()],
                columns: vec!["both".into()],
                cells: vec![vec![("last binder takes all".into(), Shade::Good)]],
                legend: "Green: binds.".into(),
            }),
        }
    }

    #[test]
    fn every_panel_is_drawn() {
        let panels = vec![lines(true), lines(false), bars(false), bars(true), matrix()];
        let svg = Figure { panels }.svg().unwrap();
        assert!(svg.starts_with("<svg role=\"img\"") && svg.trim_end().ends_with("</svg>"));
        for word in [
            "Shares &lt;of&gt; flows",
            "hash",
            "chance",
            "answers/s",
            "reuseport",
            "binder",
            "200,000",
            "smallest and largest",
            "Green: binds.",
        ] {
            assert!(svg.contains(word), "{word}");
        }
        assert!(!svg.contains("#000000") && svg.contains("currentColor"));
    }

    #[test]
    fn a_panel_is_as_wide_as_asked_and_has_a_text_in_its_place() {
        for size in [Size::Wide, Size::Narrow] {
            for panel in [lines(true), bars(false), matrix()] {
                let svg = panel.svg(size).unwrap();
                assert!(
                    svg.contains(&format!("width=\"{}\"", size.width())),
                    "{svg}"
                );
                assert!(svg.contains("aria-label=\""), "{svg}");
            }
        }
        let svg = bars(false).svg(Size::Narrow).unwrap();
        assert!(
            svg.contains("reuseport, one 150,000 (100,000 to 200,000)"),
            "{svg}"
        );
    }

    #[test]
    fn samples_have_names_of_their_own() {
        let panels = vec![lines(true), bars(false), matrix()];
        let named = Figure { panels }.samples();
        let names: Vec<&str> = named.iter().map(|named| named.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "Shares <of> flows: hash, flows 1",
                "Shares <of> flows: hash, flows 4,096",
                "Shares <of> flows: random, flows 1",
                "Shares <of> flows: random, flows 8",
                "Rates: reuseport, one",
                "Rates: shared, one",
                "Rates: shared, two",
            ]
        );
        assert_eq!(named[4].unit, "answers/s");
        assert_eq!(named[4].sample.middle(), 150_000.0);
    }

    #[test]
    fn empty_figures_do_not_break() {
        let mut empty = lines(false);
        if let Drawing::Lines(lines) = &mut empty.drawing {
            lines.series.clear();
            lines.band = None;
        }
        let panels = vec![empty];
        assert!(Figure { panels }.svg().is_ok());
        assert!(Figure::default().svg().is_ok());
    }
}
