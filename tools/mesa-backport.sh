#!/bin/sh
# A second software Vulkan: the Mesa of Debian's backports beside the system's, unpacked and not installed.
# usage: tools/mesa-backport.sh DIR    then: VK_DRIVER_FILES=DIR/lavapipe.json
# Two versions of lavapipe compile shaders differently, so running the parity tier on both finds what one hides.
# DIR/radv.json is AMD's driver of the same package, which compiles for GPUs that are not there (`./x bench isa`).
# DIR/radv.json is written last, so its presence means that DIR is complete. Needs apt; not root.
set -eu

fail() { echo "mesa-backport: $*" >&2; exit 1; }

[ $# = 1 ] || fail "usage: mesa-backport.sh DIR"
[ ! -f "$1/radv.json" ] || exit 0
command -v apt-get >/dev/null || fail "needs Debian's apt"
codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
[ "$(sed -n 's/^ID=//p' /etc/os-release)" = debian ] || fail "backports are Debian's; here: $(uname -sr)"
mkdir -p "$1"
dir=$(cd "$1" && pwd)

# The mirror that the machine already uses, in either format of source lists.
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
    grep -v '^ *#' | grep -oE 'https?://[^ ]+/debian/?( |$)' | tr -d ' ' | head -n 1)
mkdir -p "$dir/apt/lists/partial" "$dir/apt/archives/partial"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${mirror:-http://deb.debian.org/debian} $codename-backports main" \
    >"$dir/apt/sources"

# apt with this one source and its own folders, so that the system's package lists stay as they are.
apt() {
    apt-get -qq -o APT::Sandbox::User=root -o Dir::Etc::SourceList="$dir/apt/sources" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$dir/apt/lists" -o Dir::Cache="$dir/apt" "$@"
}
apt update
cd "$dir/apt"
apt download mesa-vulkan-drivers
for deb in *.deb; do dpkg -x "$deb" "$dir"; done
cd "$dir"
rm -rf apt

# describe NAME LIBRARY: the file by which Vulkan's loader finds a driver.
describe() {
    library=$(find "$dir/usr/lib" -name "$2" | head -n 1)
    [ -n "$library" ] || fail "no $2 in that package"
    missing=$(ldd "$library" | awk '/not found/ { print $1 }')
    [ -z "$missing" ] || fail "$2 lacks $missing"
    printf '{"file_format_version": "1.0.0", "ICD": {"library_path": "%s", "api_version": "1.4.0"}}\n' "$library" \
        >"$dir/$1.json"
}
describe lavapipe libvulkan_lvp.so
describe radv libvulkan_radeon.so
