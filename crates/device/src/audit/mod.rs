//! Devices that watch their shaders' accesses: [`GpuOptions::audited`](crate::GpuOptions::audited).

mod text;

use std::fmt;
use std::sync::{Mutex, OnceLock};

use crate::health::lock;
use crate::{Buffer, BufferUse, Error, Gpu, Result, Source};
use text::Site;

/// Accesses that one device can watch.
const SITES: usize = 1 << 20;

/// A shader left an array, or read workgroup memory that it had not written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// Where: `shaders/gather.wgsl:24`.
    pub place: String,
    /// The access: `a[at + i]`.
    pub access: String,
    /// How many elements the index was past the last one, at most; none for a read of what was not written before.
    pub past: Option<u32>,
    /// The variant.
    pub variant: String,
}

/// What an audited device keeps.
#[derive(Default)]
pub(crate) struct Audit {
    /// With the variants that they are of.
    sites: Mutex<Vec<(Site, String)>>,
    /// A word for each site, its layout and its bind group.
    found: OnceLock<(Buffer, wgpu::BindGroupLayout, wgpu::BindGroup)>,
}

impl Audit {
    /// The layout of group 2 and its bind group.
    fn group(&self, gpu: &Gpu) -> Result<&(Buffer, wgpu::BindGroupLayout, wgpu::BindGroup)> {
        if let Some(found) = self.found.get() {
            return Ok(found);
        }
        let buffer = gpu.buffer(4 * SITES as u64, BufferUse::Storage)?;
        let layout = gpu.audit_layout();
        let entries = [wgpu::BindGroupEntry {
            binding: 0,
            resource: buffer.raw().as_entire_binding(),
        }];
        let group = gpu.bind_group(&layout, &entries);
        // Where two threads come here, the first counts.
        Ok(self.found.get_or_init(|| (buffer, layout, group)))
    }
}

impl Gpu {
    /// What shaders did since the last call that [`GpuOptions::trusted`](crate::GpuOptions::trusted) forbids; nothing on a
    /// device that is not audited.
    ///
    /// # Errors
    /// As [`Gpu::read`].
    pub async fn audit(&self) -> Result<Vec<Fault>> {
        let Some(audit) = self.auditor() else {
            return Ok(Vec::new());
        };
        let count = lock(&audit.sites).len() as u64;
        let buffer = &audit.group(self)?.0;
        if count == 0 {
            return Ok(Vec::new());
        }
        let bytes = self.read(buffer, 0, 4 * count).await?;
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(Vec::new());
        }
        self.write(buffer, 0, &vec![0; bytes.len()])?;
        let sites = lock(&audit.sites);
        let words = bytes.as_chunks::<4>().0.iter().zip(sites.iter());
        let faults = words.filter_map(|(word, (site, variant))| {
            let word = u32::from_le_bytes(*word);
            (word > 0).then(|| Fault {
                place: site.place.clone(),
                access: site.access.clone(),
                past: word.checked_sub(1).filter(|past| *past > 0),
                variant: variant.clone(),
            })
        });
        Ok(faults.collect())
    }

    /// On an audited device: the text with its checks, and the layout of group 2.
    pub(crate) fn audited(
        &self,
        source: &Source,
        text: &str,
    ) -> Result<Option<(String, &wgpu::BindGroupLayout)>> {
        let Some(audit) = self.auditor() else {
            return Ok(None);
        };
        let layout = &audit.group(self)?.1;
        let mut sites = lock(&audit.sites);
        let (text, new) = text::instrument(source, text, sites.len() as u32)?;
        let count = (sites.len() + new.len()) as u64;
        if count > SITES as u64 {
            return Err(Error::TooLarge {
                what: "accesses (a number) of audited shaders".into(),
                bytes: count,
                limit: SITES as u64,
            });
        }
        let variant = source.variant().to_string();
        sites.extend(new.into_iter().map(|site| (site, variant.clone())));
        Ok(Some((text, layout)))
    }

    /// Group 2 of an audited device.
    pub(crate) fn audit_group(&self) -> Result<Option<wgpu::BindGroup>> {
        let audit = self.auditor();
        audit
            .map(|audit| Ok(audit.group(self)?.2.clone()))
            .transpose()
    }

    fn audit_layout(&self) -> wgpu::BindGroupLayout {
        let entry = wgpu::BindGroupLayoutEntry {
            binding: 0,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: wgpu::BufferBindingType::Storage { read_only: false },
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        };
        self.device()
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: Some("audit"),
                entries: &[entry],
            })
    }
}

/// `shaders/gather.wgsl:24: a[at + i] is 3 past the end, in gather THREADS=64`
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ", self.place, self.access)?;
        match self.past {
            Some(past) => write!(f, "is {past} past the end")?,
            None => f.write_str("is read before it is written")?,
        }
        write!(f, ", in {}", self.variant)
    }
}
