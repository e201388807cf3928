//! Images, indexes, charts, artifacts and what refers to them, pushed by the clients that people use.

use super::*;
use crate::support::part::Said;

const HELM: &str = "application/vnd.cncf.helm.config.v1+json";
const OURS: &str = "application/vnd.example.report.v1";
const SIGNATURE: &str = "application/vnd.example.signature.v1";

impl Bed {
    /// Pushes something under a tag, up to three times, until it was shown within a second; says as what it was pushed.
    fn shown_within_a_second(&self, repository: &str, tags: [&str; 3], push: impl Fn(&str) -> Said) -> String {
        for tag in tags {
            push(tag).well();
            let began = Instant::now();
            let shown = self.until(&format!("{repository}:{tag} is shown"), || {
                let found = self.runtime.block_on(self.catalogue().tags(self.service, repository, None, 100)).unwrap();
                found.into_iter().find(|shown| shown.name == tag)?.pushed
            });
            if machine::elapsed(began) < Duration::from_secs(1) {
                return shown.media_type;
            }
        }
        panic!("{repository}: it took more than a second each time");
    }

    fn details(&self, repository: &str, tag: &str) -> Arc<::dockwarden::catalogue::Details> {
        self.runtime.block_on(self.catalogue().open_tag(self.service, repository, tag)).unwrap()
    }
}

#[test]
fn what_clients_push_is_shown_by_tag_within_a_second_as_what_it_is() {
    with_both(|bed| {
        let registry = format!("localhost:{}", bed.port);
        let secret = password("boss");
        let crane = |arguments: &[&str]| part::run(client::crane(&bed.home).args(arguments));
        let oras = |arguments: &[&str]| part::run(client::oras(&bed.home).args(arguments));
        crane(&["auth", "login", &registry, "-u", "boss", "-p", &secret]).well();
        let login = ["login", "--plain-http", "--username", "boss", "--password-stdin", &registry];
        part::run_with(client::oras(&bed.home).args(login), secret.as_bytes()).well();
        let login = ["registry", "login", "--plain-http", "--username", "boss", "--password-stdin", &registry];
        part::run_with(client::helm(&bed.home).args(login), secret.as_bytes()).well();

        // An image, and an index of it.
        let layout = image::layout("artifacts").directory.display().to_string();
        let at = |repository: &str, tag: &str| format!("{registry}/{repository}:{tag}");
        let push = |tag: &str| crane(&["push", "--insecure", &layout, &at("lib/image", tag)]);
        assert_eq!(bed.shown_within_a_second("lib/image", ["v1", "v2", "v3"], push), IMAGE);
        let of = at("lib/image", "v1");
        let push =
            |tag: &str| crane(&["index", "append", "--insecure", "--manifest", &of, "--tag", &at("lib/index", tag)]);
        assert_eq!(bed.shown_within_a_second("lib/index", ["v1", "v2", "v3"], push), INDEX);
        assert!(matches!(bed.details("lib/index", "v1").kind, Kind::Index { .. }));

        // A chart.
        for version in ["1.0.0", "2.0.0", "3.0.0"] {
            let directory = bed.home.join("chart");
            std::fs::create_dir_all(&directory).unwrap();
            let about = format!("apiVersion: v2\nname: chart\nversion: {version}\n");
            std::fs::write(directory.join("Chart.yaml"), about).unwrap();
            part::run(client::helm(&bed.home).args(["package", "chart"])).well();
        }
        let charts = format!("oci://{registry}/charts");
        let push = |version: &str| {
            let file = format!("chart-{version}.tgz");
            part::run(client::helm(&bed.home).args(["push", &file, &charts, "--plain-http"]))
        };
        assert_eq!(bed.shown_within_a_second("charts/chart", ["1.0.0", "2.0.0", "3.0.0"], push), IMAGE);
        assert_eq!(bed.details("charts/chart", "1.0.0").artifact_type.as_deref(), Some(HELM));

        // An artifact, and another that refers to it.
        std::fs::write(bed.home.join("report.txt"), "all is well\n").unwrap();
        let push = |tag: &str| {
            let to = at("lib/report", tag);
            oras(&["push", "--plain-http", "--artifact-type", OURS, &to, "report.txt:text/plain"])
        };
        assert_eq!(bed.shown_within_a_second("lib/report", ["v1", "v2", "v3"], push), IMAGE);
        let to = at("lib/report", "v1");
        oras(&["attach", "--plain-http", "--artifact-type", SIGNATURE, &to, "report.txt:text/plain"]).well();
        let details = bed.details("lib/report", "v1");
        assert_eq!(details.artifact_type.as_deref(), Some(OURS));
        let referrers: Vec<&str> = details.referrers.iter().map(|one| one.artifact_type.as_str()).collect();
        assert_eq!(referrers, [SIGNATURE]);
    });
}
