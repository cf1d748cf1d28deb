//! From what is wanted to a set of packages: pure, and the same for the same indexes.

use super::error::Unsatisfied;
use super::relation::{Relation, clauses, compare};
use super::{DebianError, Package};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What the set must hold.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `Essential: yes` and `Priority: required`: a system that dpkg can configure.
    pub essentials: bool,
    pub packages: Vec<String>,
    /// Names that are not pulled in; who depends on them gets none.
    pub exclude: Vec<String>,
    /// What is there already: it satisfies, and is not in the answer.
    pub on_top_of: Vec<Package>,
}

/// Of two that exclude each other, the one that works in an image: the
/// installation script of `usrmerge` refuses overlay file systems.
const PREFERRED: &str = "usr-is-merged";

/// The packages to add, sorted by name; recommended ones are never pulled in.
///
/// # Errors
/// Lists every constraint that cannot be met and every conflict.
pub fn resolve(packages: &[Package], request: &Request) -> Result<Vec<Package>, DebianError> {
    let mut solver = Solver::new(packages, request);
    if request.essentials {
        let needed = |package: &&Package| package.essential || package.priority == "required";
        let names: Vec<&str> =
            solver.pool.iter().filter(|(_, versions)| versions.first().is_some_and(needed)).map(|(name, _)| *name).collect();
        for name in names {
            // Required, but only as an alternative of the preferred one.
            if name != "usrmerge" || !solver.pool.contains_key(PREFERRED) {
                solver.require(&[Relation { name: name.to_owned(), bound: None }], "the essentials");
            }
        }
    }
    // All that is named goes in before any alternative is decided.
    for text in &request.packages {
        match Relation::parse(text) {
            Some(relation) => solver.require(&[relation], "the request"),
            None => solver.faults.push(Unsatisfied::Unknown { constraint: text.clone(), by: "the request".to_owned() }),
        }
    }
    while let Some(package) = solver.queue.pop_front() {
        let by = format!("`{} {}`", package.name, package.version);
        for clause in clauses(&package.depends) {
            solver.require(&clause, &by);
        }
    }
    solver.find_conflicts();
    if !solver.faults.is_empty() {
        return Err(DebianError::Unresolvable(solver.faults));
    }
    let present: BTreeSet<&str> = request.on_top_of.iter().map(|package| package.name.as_str()).collect();
    Ok(solver.chosen.into_values().filter(|package| !present.contains(package.name.as_str())).cloned().collect())
}

struct Solver<'a> {
    /// Versions by name, the highest first.
    pool: BTreeMap<&'a str, Vec<&'a Package>>,
    /// Packages by the virtual names that they provide.
    providers: BTreeMap<String, Vec<&'a Package>>,
    exclude: BTreeSet<&'a str>,
    chosen: BTreeMap<&'a str, &'a Package>,
    /// Chosen packages by the virtual names that they provide.
    chosen_by: BTreeMap<String, Vec<&'a Package>>,
    queue: VecDeque<&'a Package>,
    faults: Vec<Unsatisfied>,
}

impl<'a> Solver<'a> {
    fn new(packages: &'a [Package], request: &'a Request) -> Self {
        let mut pool: BTreeMap<&str, Vec<&Package>> = BTreeMap::new();
        for package in packages {
            pool.entry(&package.name).or_default().push(package);
        }
        let mut providers: BTreeMap<String, Vec<&Package>> = BTreeMap::new();
        for versions in pool.values_mut() {
            if versions.len() > 1 {
                versions.sort_by(|left, right| compare(&right.version, &left.version));
            }
            for provided in versions[0].provides() {
                providers.entry(provided.name).or_default().push(versions[0]);
            }
        }
        for list in providers.values_mut() {
            list.sort_by_key(|package| (rank(&package.priority), package.name.as_str()));
        }
        let mut solver = Self {
            pool,
            providers,
            exclude: request.exclude.iter().map(String::as_str).collect(),
            chosen: BTreeMap::new(),
            chosen_by: BTreeMap::new(),
            queue: VecDeque::new(),
            faults: Vec::new(),
        };
        for package in &request.on_top_of {
            solver.take(package);
        }
        solver.queue.clear();
        solver
    }

    fn take(&mut self, package: &'a Package) {
        if self.chosen.insert(&package.name, package).is_none() {
            for provided in package.provides() {
                self.chosen_by.entry(provided.name).or_default().push(package);
            }
            self.queue.push_back(package);
        }
    }

    fn met(&self, relation: &Relation) -> bool {
        let named = self.chosen.get(relation.name.as_str()).copied();
        let virtually = self.chosen_by.get(&relation.name).into_iter().flatten().copied();
        named.into_iter().chain(virtually).any(|package| package.serves(relation))
    }

    /// One of the alternatives: what is chosen already, else the first that is available.
    fn require(&mut self, clause: &[Relation], by: &str) {
        if clause.iter().any(|relation| self.met(relation) || self.exclude.contains(relation.name.as_str())) {
            return;
        }
        let preferred = clause.iter().filter(|relation| relation.name == PREFERRED);
        for relation in preferred.chain(clause) {
            if let Some(package) = self.candidate(relation) {
                return self.take(package);
            }
        }
        let constraint = clause.iter().map(Relation::to_string).collect::<Vec<_>>().join(" | ");
        let have: Vec<String> = clause.iter().filter_map(|relation| self.what_is_there(&relation.name)).collect();
        let by = by.to_owned();
        self.faults.push(match have.is_empty() {
            true => Unsatisfied::Unknown { constraint, by },
            false => Unsatisfied::Version { constraint, by, have: have.join(", ") },
        });
    }

    /// A real package goes before virtual ones; among these the more important, then the name decides.
    fn candidate(&self, relation: &Relation) -> Option<&'a Package> {
        let real = self.pool.get(relation.name.as_str()).into_iter().flatten();
        let virtually = self.providers.get(&relation.name).into_iter().flatten();
        real.chain(virtually).copied().find(|package| {
            let name = package.name.as_str();
            // Another version of a chosen package would replace it.
            !self.chosen.contains_key(name)
                && !self.exclude.contains(name)
                && package.serves(relation)
                && self.rejected_by(package).is_none()
        })
    }

    fn what_is_there(&self, name: &str) -> Option<String> {
        let versions = self.pool.get(name)?;
        let package = self.chosen.get(name).copied().or_else(|| versions.first().copied())?;
        let rejected = self.rejected_by(package).map(|(_, other)| format!(", which does not go together with `{}`", other.name));
        Some(format!("`{} {}`{}", package.name, package.version, rejected.unwrap_or_default()))
    }

    /// The conflict of this package with a chosen one, seen from its own side.
    fn rejected_by(&self, package: &Package) -> Option<(Relation, &'a Package)> {
        clauses(&package.conflicts).into_iter().flatten().find_map(|relation| {
            let named = self.chosen.get(relation.name.as_str()).copied();
            let virtually = self.chosen_by.get(&relation.name).into_iter().flatten().copied();
            // A package may conflict with a name that it provides itself: it means the others.
            let other = named.into_iter().chain(virtually).find(|other| other.name != package.name && other.serves(&relation))?;
            Some((relation, other))
        })
    }

    fn find_conflicts(&mut self) {
        let found: Vec<_> = self
            .chosen
            .values()
            .filter_map(|package| {
                let (relation, other) = self.rejected_by(package)?;
                Some(Unsatisfied::Conflict {
                    package: format!("{} {}", package.name, package.version),
                    constraint: relation.to_string(),
                    with: format!("{} {}", other.name, other.version),
                })
            })
            .collect();
        self.faults.extend(found);
    }
}

fn rank(priority: &str) -> usize {
    let order = ["required", "important", "standard", "optional", "extra"];
    order.iter().position(|name| *name == priority).unwrap_or(order.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name version; D: …; P: …; C: …; E` a package a line.
    fn world(text: &str) -> Vec<Package> {
        let package = |line: &str| {
            let mut parts = line.split(';').map(str::trim);
            let (name, version) = parts.next().unwrap().split_once(' ').unwrap();
            let mut package =
                Package { name: name.into(), version: version.into(), priority: "optional".into(), ..Package::default() };
            for part in parts {
                match part.split_once(": ") {
                    Some(("D", text)) => package.depends = text.into(),
                    Some(("P", text)) => package.provides = text.into(),
                    Some(("C", text)) => package.conflicts = text.into(),
                    _ => package.essential = true,
                }
            }
            package
        };
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(package).collect()
    }

    fn check(text: &str, wanted: &str, expected: &str) {
        let (wanted, exclude): (Vec<_>, Vec<_>) = wanted.split_whitespace().partition(|word| !word.starts_with('-'));
        let request = Request {
            essentials: wanted.contains(&"ESSENTIALS"),
            packages: wanted.into_iter().filter(|word| *word != "ESSENTIALS").map(str::to_owned).collect(),
            exclude: exclude.iter().map(|word| word[1..].to_owned()).collect(),
            on_top_of: Vec::new(),
        };
        let found = match resolve(&world(text), &request) {
            Ok(set) => set.iter().map(|package| format!("{} {}", package.name, package.version)).collect::<Vec<_>>().join(", "),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn the_highest_version_that_fits_wins() {
        check("a 1.9\na 1.10\na 1.10~rc1", "a", "a 1.10");
        check("a 1; D: b (<< 2)\nb 1\nb 2", "a", "a 1, b 1");
    }

    #[test]
    fn alternatives_take_what_is_there_then_the_first_that_exists() {
        check("a 1; D: x | y\nx 1\ny 1", "a", "a 1, x 1");
        check("a 1; D: x | y\nx 1\ny 1", "a y", "a 1, y 1");
        check("a 1; D: gone | y\ny 1", "a", "a 1, y 1");
        check("a 1; D: x (>= 2) | y\nx 1\ny 1", "a", "a 1, y 1");
        check("a 1; D: usrmerge | usr-is-merged\nusrmerge 1\nusr-is-merged 1", "a", "a 1, usr-is-merged 1");
    }

    #[test]
    fn virtual_packages_are_met_by_who_provides_them() {
        check("a 1; D: v\nz 1; P: v\np 1; P: v", "a", "a 1, p 1");
        check("a 1; D: v\nz 1; P: v\np 1; P: v", "a z", "a 1, z 1");
        check("a 1; D: v (>= 2)\np 1; P: v (= 3)\nq 1; P: v", "a", "a 1, p 1");
        check("a 1; D: v (>= 2)\nq 1; P: v", "a", "`v (>= 2)`, asked for by `a 1`, is in no suite");
    }

    #[test]
    fn what_cannot_be_met_is_named_with_who_asked() {
        check(
            "a 1; D: gone",
            "a nothing",
            "`nothing`, asked for by the request, is in no suite; `gone`, asked for by `a 1`, is in no suite",
        );
        check("a 1; D: b (>= 2)\nb 1", "a", "`b (>= 2)`, asked for by `a 1`, cannot be met: there is `b 1`");
        check("a 1; C: b\nb 1", "a b", "`a 1` does not go together with `b`, and `b 1` is chosen");
        check("a 1; C: b (<< 1)\nb 1", "a b", "a 1, b 1");
        check("a 1; P: mta; C: mta\nb 1", "a b", "a 1, b 1");
    }

    #[test]
    fn circles_essentials_and_exclusions() {
        check("a 1; D: b\nb 1; D: a", "a", "a 1, b 1");
        check("a 1; D: b, c\nb 1; D: d\nc 1\nd 1", "a -b", "a 1, c 1");
        check("base 1; E\nlibc 1\na 1; D: libc", "ESSENTIALS a", "a 1, base 1, libc 1");
    }

    #[test]
    fn what_is_there_already_is_not_answered_again() {
        let packages = world("a 1; D: b, v\nb 1\nc 1; P: v\nd 1; P: v");
        let on_top_of = world("b 1\nd 1; P: v");
        let set = resolve(&packages, &Request { packages: vec!["a".into()], on_top_of, ..Request::default() }).unwrap();
        assert_eq!(set.iter().map(|package| package.name.as_str()).collect::<Vec<_>>(), ["a"]);
    }
}
