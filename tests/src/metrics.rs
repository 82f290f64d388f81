//! Prometheus text, read into samples.

use std::{collections::BTreeMap, net::SocketAddr};

/// What a `/metrics` page said.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<Sample>);

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Samples {
    /// Reads the page of a plane's admin port; no token is needed there.
    pub async fn fetch(address: SocketAddr) -> Self {
        crate::authority::install_provider();
        let url = format!("http://{address}/metrics");
        let response = reqwest::get(url).await.expect("the admin port answers");
        assert_eq!(response.status(), 200, "/metrics");
        Self::parse(&response.text().await.expect("the page is text"))
    }

    pub fn parse(text: &str) -> Self {
        Self(
            text.lines()
                .filter(|line| !line.starts_with('#'))
                .filter_map(sample)
                .collect(),
        )
    }

    /// Sum over every sample of this name that has these labels. `None`: there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let matching = self.0.iter().filter(|sample| {
            let has = |(key, value): &(&str, &str)| {
                sample.labels.get(*key).is_some_and(|have| have == value)
            };
            sample.name == name && labels.iter().all(has)
        });
        matching
            .map(|sample| sample.value)
            .reduce(|left, right| left + right)
    }

    /// Non-zero values of a counter by one of its labels.
    pub fn by(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut values = BTreeMap::new();
        for sample in self
            .0
            .iter()
            .filter(|sample| sample.name == name && sample.value != 0.0)
        {
            if let Some(key) = sample.labels.get(label) {
                *values.entry(key.clone()).or_default() += sample.value;
            }
        }
        values
    }

    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.0.iter().map(|sample| sample.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        None => (series, BTreeMap::new()),
        Some((name, rest)) => (name, pairs(rest.strip_suffix('}')?)),
    };
    Some(Sample {
        name: name.to_owned(),
        labels,
        value: value.parse().ok()?,
    })
}

/// `a="1",b="2"`; values of ours hold no quotes.
fn pairs(text: &str) -> BTreeMap<String, String> {
    (text.split("\","))
        .filter_map(|pair| pair.split_once("=\""))
        .map(|(key, value)| (key.to_owned(), value.trim_end_matches('"').to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_over_the_labels_that_are_not_named() {
        let samples = Samples::parse(
            "# HELP x y\nx{a=\"1\",b=\"p,q\"} 2\nx{a=\"1\",b=\"r\"} 3\nx{a=\"2\"} 7\ny 1\n",
        );
        assert_eq!(samples.sum("x", &[("a", "1")]), Some(5.0));
        assert_eq!(samples.sum("x", &[("b", "p,q")]), Some(2.0));
        assert_eq!(samples.sum("x", &[("a", "3")]), None);
        assert_eq!(samples.names(), ["x", "y"]);
    }
}
