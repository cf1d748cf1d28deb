//! The graph as a picture of its own: a column for each level, from left to right.

use super::{Service, details, edges, fill};
use std::collections::BTreeMap;
use std::fmt::Write;

const WIDTH: usize = 170;
const LINE: usize = 17;
const GAP: (usize, usize) = (70, 22);
const MARGIN: usize = 16;

struct Place {
    x: usize,
    y: usize,
    height: usize,
}

pub fn svg(services: &[Service]) -> String {
    let places = places(services);
    let right = places.values().map(|place| place.x + WIDTH).max().unwrap_or(0) + MARGIN;
    let bottom = places.values().map(|place| place.y + place.height).max().unwrap_or(0) + MARGIN;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{right}\" height=\"{bottom}\" viewBox=\"0 0 {right} {bottom}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<style>.edge{{fill:none;stroke:#888}} .name{{font-weight:bold}}</style>\n\
         <defs><marker id=\"head\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\">\
         <path d=\"M0 0L8 4L0 8z\" fill=\"#888\"/></marker></defs>\n"
    );
    for (from, to) in edges(services) {
        let (Some(from), Some(to)) = (places.get(from), places.get(to)) else { continue };
        let (x1, y1, x2, y2) = (from.x + WIDTH, from.y + from.height / 2, to.x, to.y + to.height / 2);
        let middle = x2 - GAP.0 / 2;
        writeln!(
            out,
            "<path class=\"edge\" d=\"M{x1} {y1}C{} {y1} {middle} {y2} {x2} {y2}\" marker-end=\"url(#head)\"/>",
            x1 + GAP.0 / 2
        )
        .expect("strings take all");
    }
    for one in services {
        let Place { x, y, height } = places[one.name.as_str()];
        writeln!(
            out,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{height}\" rx=\"7\" fill=\"{}\" stroke=\"#666\"/>",
            fill(one.state)
        )
        .expect("strings take all");
        let lines = std::iter::once((one.called(), " class=\"name\"")).chain(details(one).into_iter().map(|line| (line, "")));
        for (number, (line, class)) in lines.enumerate() {
            let (x, y) = (x + 10, y + LINE * (number + 1));
            writeln!(out, "<text{class} x=\"{x}\" y=\"{y}\">{}</text>", quick_xml::escape::escape(&line))
                .expect("strings take all");
        }
    }
    out + "</svg>\n"
}

fn places(services: &[Service]) -> BTreeMap<&str, Place> {
    let mut filled: BTreeMap<usize, usize> = BTreeMap::new();
    let mut places = BTreeMap::new();
    for one in services {
        let height = LINE * (1 + details(one).len()) + 8;
        let top = filled.entry(one.level).or_insert(MARGIN);
        places.insert(one.name.as_str(), Place { x: MARGIN + one.level * (WIDTH + GAP.0), y: *top, height });
        *top += height + GAP.1;
    }
    places
}
