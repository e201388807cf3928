//! Images made on the spot, each with a layer of its own so that no client finds it anywhere else.

use std::env::consts::ARCH;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::visit::digest;
use super::{part, scratch};

/// An image in OCI's directory layout, and the same as one tar file.
#[derive(Debug)]
pub(crate) struct Layout {
    /// The directory with `oci-layout`, `index.json` and `blobs`.
    pub(crate) directory: PathBuf,
    /// The directory as a tar file.
    pub(crate) tar: PathBuf,
    /// The layer as a tar file.
    pub(crate) layer: PathBuf,
    /// The manifest's digest.
    pub(crate) digest: String,
}

/// Its tag inside the layout, for clients that take `oci:DIRECTORY:TAG`.
pub(crate) const TAG: &str = "made";

/// Its name after `ctr images import`.
pub(crate) const NAME: &str = "localhost/local:made";

/// An image with one file that says `marker`.
pub(crate) fn layout(marker: &str) -> Layout {
    let work = scratch::directory("image");
    let layer = work.join("layer.tar");
    scratch::write(&work, "marker", marker);
    tar(&layer, &work, "marker");
    let directory = work.join("layout");
    fs::create_dir_all(directory.join("blobs/sha256")).unwrap();
    let put = |bytes: &[u8], media_type: &str| -> Value {
        let digest = digest(bytes);
        let (_, name) = digest.split_once(':').unwrap();
        fs::write(directory.join("blobs/sha256").join(name), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    };
    let layer_bytes = fs::read(&layer).unwrap();
    let architecture = match ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = json!({
        "architecture": architecture, "os": "linux", "config": {"Labels": {"marker": marker}},
        "rootfs": {"type": "layers", "diff_ids": [digest(&layer_bytes)]},
    });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": put(config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json"),
        "layers": [put(&layer_bytes, "application/vnd.oci.image.layer.v1.tar")],
    });
    let mut entry = put(manifest.to_string().as_bytes(), "application/vnd.oci.image.manifest.v1+json");
    let digest = entry["digest"].as_str().unwrap().to_owned();
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": TAG, "io.containerd.image.name": NAME});
    let index = json!({"schemaVersion": 2, "manifests": [entry]});
    scratch::write(&directory, "index.json", &index.to_string());
    scratch::write(&directory, "oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
    let tar_file = work.join("layout.tar");
    tar(&tar_file, &directory, ".");
    Layout { directory, tar: tar_file, layer, digest }
}

fn tar(file: &Path, directory: &Path, what: &str) {
    part::run(part::client("tar").arg("-cf").arg(file).arg("-C").arg(directory).arg(what)).well();
}

/// A build context: `FROM scratch`, the static busybox, and a layer that says `marker`.
pub(crate) fn build_context(marker: &str) -> PathBuf {
    let directory = scratch::directory("build");
    fs::copy(part::path("busybox"), directory.join("busybox")).unwrap();
    scratch::write(&directory, "marker", marker);
    // The label comes first, so that two images share no step: removing the one would take a cached step away from
    // under the build of the other.
    let steps = format!(
        "FROM scratch\nLABEL marker={marker}\nCOPY busybox /bin/busybox\nCOPY marker /marker\n\
         CMD [\"/bin/busybox\", \"true\"]\n"
    );
    scratch::write(&directory, "Dockerfile", &steps);
    directory
}
