"""The fields that are used of CRI v1 and of containerd's own API: name, number, type.

A line is a message: `Name: field number type, ...`. A type is a scalar, `map` (string to string), `any`,
`timestamp` or another message of the package; `*` repeats it. Enumerations are int32: the same on the wire.
What is left out is skipped when read, as protobuf prescribes.
"""

from __future__ import annotations

CRI = """
VersionRequest: version 1 string
VersionResponse: version 1 string, runtime_name 2 string, runtime_version 3 string, \
runtime_api_version 4 string
StatusRequest: verbose 1 bool
RuntimeCondition: type 1 string, status 2 bool, reason 3 string, message 4 string
RuntimeStatus: conditions 1 *RuntimeCondition
StatusResponse: status 1 RuntimeStatus, info 2 map
Int64Value: value 1 int64
UInt64Value: value 1 uint64
KeyValue: key 1 string, value 2 bytes
DNSConfig: servers 1 *string, searches 2 *string, options 3 *string
NamespaceOption: network 1 int32, pid 2 int32, ipc 3 int32, target_id 4 string
SecurityProfile: profile_type 1 int32, localhost_ref 2 string
Capability: add_capabilities 1 *string, drop_capabilities 2 *string
LinuxSandboxSecurityContext: namespace_options 1 NamespaceOption, run_as_user 3 Int64Value, \
readonly_rootfs 4 bool, supplemental_groups 5 *int64, privileged 6 bool, run_as_group 8 Int64Value, \
seccomp 9 SecurityProfile
LinuxContainerResources: cpu_period 1 int64, cpu_quota 2 int64, cpu_shares 3 int64, \
memory_limit_in_bytes 4 int64, oom_score_adj 5 int64
LinuxPodSandboxConfig: cgroup_parent 1 string, security_context 2 LinuxSandboxSecurityContext, sysctls 3 map
PodSandboxMetadata: name 1 string, uid 2 string, namespace 3 string, attempt 4 uint32
PodSandboxConfig: metadata 1 PodSandboxMetadata, hostname 2 string, log_directory 3 string, \
dns_config 4 DNSConfig, labels 6 map, annotations 7 map, linux 8 LinuxPodSandboxConfig
RunPodSandboxRequest: config 1 PodSandboxConfig, runtime_handler 2 string
RunPodSandboxResponse: pod_sandbox_id 1 string
StopPodSandboxRequest: pod_sandbox_id 1 string
StopPodSandboxResponse:
RemovePodSandboxRequest: pod_sandbox_id 1 string
RemovePodSandboxResponse:
PodSandboxStatusRequest: pod_sandbox_id 1 string, verbose 2 bool
PodIP: ip 1 string
PodSandboxNetworkStatus: ip 1 string, additional_ips 2 *PodIP
PodSandboxStatus: id 1 string, metadata 2 PodSandboxMetadata, state 3 int32, created_at 4 int64, \
network 5 PodSandboxNetworkStatus, labels 7 map, annotations 8 map
PodSandboxStatusResponse: status 1 PodSandboxStatus, info 2 map
PodSandboxFilter: id 1 string, label_selector 3 map
ListPodSandboxRequest: filter 1 PodSandboxFilter
PodSandbox: id 1 string, metadata 2 PodSandboxMetadata, state 3 int32, created_at 4 int64, labels 5 map, \
annotations 6 map
ListPodSandboxResponse: items 1 *PodSandbox
ImageSpec: image 1 string, annotations 2 map, user_specified_image 18 string
Mount: container_path 1 string, host_path 2 string, readonly 3 bool, propagation 5 int32
LinuxContainerSecurityContext: capabilities 1 Capability, privileged 2 bool, \
namespace_options 3 NamespaceOption, run_as_user 5 Int64Value, run_as_username 6 string, \
readonly_rootfs 7 bool, supplemental_groups 8 *int64, no_new_privs 11 bool, run_as_group 12 Int64Value, \
seccomp 15 SecurityProfile
LinuxContainerConfig: resources 1 LinuxContainerResources, security_context 2 LinuxContainerSecurityContext
Device: container_path 1 string, host_path 2 string, permissions 3 string
ContainerMetadata: name 1 string, attempt 2 uint32
ContainerConfig: metadata 1 ContainerMetadata, image 2 ImageSpec, command 3 *string, args 4 *string, \
working_dir 5 string, envs 6 *KeyValue, mounts 7 *Mount, devices 8 *Device, labels 9 map, \
annotations 10 map, log_path 11 string, stdin 12 bool, stdin_once 13 bool, tty 14 bool, \
linux 15 LinuxContainerConfig
CreateContainerRequest: pod_sandbox_id 1 string, config 2 ContainerConfig, sandbox_config 3 PodSandboxConfig
CreateContainerResponse: container_id 1 string
StartContainerRequest: container_id 1 string
StartContainerResponse:
StopContainerRequest: container_id 1 string, timeout 2 int64
StopContainerResponse:
RemoveContainerRequest: container_id 1 string
RemoveContainerResponse:
ContainerFilter: id 1 string, pod_sandbox_id 3 string, label_selector 4 map
ListContainersRequest: filter 1 ContainerFilter
Container: id 1 string, pod_sandbox_id 2 string, metadata 3 ContainerMetadata, image 4 ImageSpec, \
image_ref 5 string, state 6 int32, created_at 7 int64, labels 8 map, annotations 9 map
ListContainersResponse: containers 1 *Container
ContainerStatusRequest: container_id 1 string, verbose 2 bool
ContainerStatus: id 1 string, metadata 2 ContainerMetadata, state 3 int32, created_at 4 int64, \
started_at 5 int64, finished_at 6 int64, exit_code 7 int32, image 8 ImageSpec, image_ref 9 string, \
reason 10 string, message 11 string, labels 12 map, annotations 13 map, log_path 15 string
ContainerStatusResponse: status 1 ContainerStatus, info 2 map
UpdateContainerResourcesRequest: container_id 1 string, linux 2 LinuxContainerResources
UpdateContainerResourcesResponse:
ReopenContainerLogRequest: container_id 1 string
ReopenContainerLogResponse:
ExecSyncRequest: container_id 1 string, cmd 2 *string, timeout 3 int64
ExecSyncResponse: stdout 1 bytes, stderr 2 bytes, exit_code 3 int32
ExecRequest: container_id 1 string, cmd 2 *string, tty 3 bool, stdin 4 bool, stdout 5 bool, stderr 6 bool
ExecResponse: url 1 string
AttachRequest: container_id 1 string, stdin 2 bool, tty 3 bool, stdout 4 bool, stderr 5 bool
AttachResponse: url 1 string
ImageFilter: image 1 ImageSpec
ListImagesRequest: filter 1 ImageFilter
Image: id 1 string, repo_tags 2 *string, repo_digests 3 *string, size 4 uint64, uid 5 Int64Value, \
username 6 string, pinned 8 bool
ListImagesResponse: images 1 *Image
ImageStatusRequest: image 1 ImageSpec, verbose 2 bool
ImageStatusResponse: image 1 Image, info 2 map
AuthConfig: username 1 string, password 2 string, auth 3 string, server_address 4 string, \
identity_token 5 string, registry_token 6 string
PullImageRequest: image 1 ImageSpec, auth 2 AuthConfig, sandbox_config 3 PodSandboxConfig
PullImageResponse: image_ref 1 string
RemoveImageRequest: image 1 ImageSpec
RemoveImageResponse:
ImageFsInfoRequest:
FilesystemIdentifier: mountpoint 1 string
FilesystemUsage: timestamp 1 int64, fs_id 2 FilesystemIdentifier, used_bytes 3 UInt64Value
ImageFsInfoResponse: image_filesystems 1 *FilesystemUsage
ContainerAttributes: id 1 string, metadata 2 ContainerMetadata
CpuUsage: timestamp 1 int64, usage_core_nano_seconds 2 UInt64Value, usage_nano_cores 3 UInt64Value
MemoryUsage: timestamp 1 int64, working_set_bytes 2 UInt64Value, usage_bytes 4 UInt64Value, \
rss_bytes 5 UInt64Value
ContainerStats: attributes 1 ContainerAttributes, cpu 2 CpuUsage, memory 3 MemoryUsage, \
writable_layer 4 FilesystemUsage
ContainerStatsFilter: id 1 string, label_selector 3 map
ListContainerStatsRequest: filter 1 ContainerStatsFilter
ListContainerStatsResponse: stats 1 *ContainerStats
"""

TASKS = """
StartRequest: container_id 1 string, exec_id 2 string
StartResponse: pid 1 uint32
DeleteProcessRequest: container_id 1 string, exec_id 2 string
DeleteResponse: id 1 string, pid 2 uint32, exit_status 3 uint32
GetRequest: container_id 1 string, exec_id 2 string
Process: container_id 1 string, id 2 string, pid 3 uint32, status 4 int32, stdin 5 string, stdout 6 string, \
stderr 7 string, terminal 8 bool, exit_status 9 uint32
GetResponse: process 1 Process
KillRequest: container_id 1 string, exec_id 2 string, signal 3 uint32, all 4 bool
ExecProcessRequest: container_id 1 string, stdin 2 string, stdout 3 string, stderr 4 string, \
terminal 5 bool, spec 6 any, exec_id 7 string
ResizePtyRequest: container_id 1 string, exec_id 2 string, width 3 uint32, height 4 uint32
CloseIORequest: container_id 1 string, exec_id 2 string, stdin 3 bool
WaitRequest: container_id 1 string, exec_id 2 string
WaitResponse: exit_status 1 uint32, exited_at 2 timestamp
"""

CONTAINERS = """
Container: id 1 string, labels 2 map, image 3 string, spec 5 any
GetRequest: id 1 string
GetResponse: container 1 Container
"""

EVENTS = """
SubscribeRequest: filters 1 *string
Envelope: timestamp 1 timestamp, namespace 2 string, topic 3 string, event 4 any
"""

EVENT_TYPES = """
TaskExit: container_id 1 string, id 2 string, pid 3 uint32, exit_status 4 uint32, exited_at 5 timestamp
"""

CONTENT = """
WriteContentRequest: action 1 int32, ref 2 string, total 3 int64, expected 4 string, offset 5 int64, \
data 6 bytes, labels 7 map
WriteContentResponse: action 1 int32, offset 4 int64, total 5 int64, digest 6 string
ReadContentRequest: digest 1 string, offset 2 int64, size 3 int64
ReadContentResponse: offset 1 int64, data 2 bytes
"""

IMAGES = """
Descriptor: media_type 1 string, digest 2 string, size 3 int64
Image: name 1 string, labels 2 map, target 3 Descriptor
CreateRequest: image 1 Image
CreateResponse: image 1 Image
UpdateRequest: image 1 Image
UpdateResponse: image 1 Image
GetRequest: name 1 string
GetResponse: image 1 Image
"""

LEASES = """
CreateRequest: id 1 string, labels 3 map
CreateResponse:
DeleteRequest: id 1 string, sync 2 bool
"""

_MOUNT = "Mount: type 1 string, source 2 string, target 3 string, options 4 *string"

SNAPSHOTS = f"""
{_MOUNT}
PrepareSnapshotRequest: snapshotter 1 string, key 2 string, parent 3 string, labels 4 map
PrepareSnapshotResponse: mounts 1 *Mount
ViewSnapshotRequest: snapshotter 1 string, key 2 string, parent 3 string, labels 4 map
ViewSnapshotResponse: mounts 1 *Mount
MountsRequest: snapshotter 1 string, key 2 string
MountsResponse: mounts 1 *Mount
RemoveSnapshotRequest: snapshotter 1 string, key 2 string
CommitSnapshotRequest: snapshotter 1 string, name 2 string, key 3 string, labels 4 map
StatSnapshotRequest: snapshotter 1 string, key 2 string
Info: name 1 string, parent 2 string, kind 3 int32
StatSnapshotResponse: info 1 Info
"""

DIFF = f"""
{_MOUNT}
Descriptor: media_type 1 string, digest 2 string, size 3 int64
ApplyRequest: diff 1 Descriptor, mounts 2 *Mount
ApplyResponse: applied 1 Descriptor
"""

PACKAGES = {
    "runtime.v1": CRI,
    "containerd.services.tasks.v1": TASKS,
    "containerd.services.containers.v1": CONTAINERS,
    "containerd.services.events.v1": EVENTS,
    "containerd.events": EVENT_TYPES,
    "containerd.services.content.v1": CONTENT,
    "containerd.services.images.v1": IMAGES,
    "containerd.services.leases.v1": LEASES,
    "containerd.services.snapshots.v1": SNAPSHOTS,
    "containerd.services.diff.v1": DIFF,
}

_TASKS = "containerd.services.tasks.v1"
_SNAPSHOTS = "containerd.services.snapshots.v1"
_EMPTY = "google.protobuf.Empty"

# Methods whose messages are not called <Method>Request and <Method>Response: (request, response).
METHODS = {
    f"{_TASKS}.Tasks/Exec": (f"{_TASKS}.ExecProcessRequest", _EMPTY),
    f"{_TASKS}.Tasks/Kill": (f"{_TASKS}.KillRequest", _EMPTY),
    f"{_TASKS}.Tasks/ResizePty": (f"{_TASKS}.ResizePtyRequest", _EMPTY),
    f"{_TASKS}.Tasks/CloseIO": (f"{_TASKS}.CloseIORequest", _EMPTY),
    f"{_TASKS}.Tasks/DeleteProcess": (f"{_TASKS}.DeleteProcessRequest", f"{_TASKS}.DeleteResponse"),
    "containerd.services.content.v1.Content/Write": (
        "containerd.services.content.v1.WriteContentRequest",
        "containerd.services.content.v1.WriteContentResponse",
    ),
    "containerd.services.content.v1.Content/Read": (
        "containerd.services.content.v1.ReadContentRequest",
        "containerd.services.content.v1.ReadContentResponse",
    ),
    f"{_SNAPSHOTS}.Snapshots/Prepare": (
        f"{_SNAPSHOTS}.PrepareSnapshotRequest",
        f"{_SNAPSHOTS}.PrepareSnapshotResponse",
    ),
    f"{_SNAPSHOTS}.Snapshots/View": (
        f"{_SNAPSHOTS}.ViewSnapshotRequest",
        f"{_SNAPSHOTS}.ViewSnapshotResponse",
    ),
    f"{_SNAPSHOTS}.Snapshots/Stat": (
        f"{_SNAPSHOTS}.StatSnapshotRequest",
        f"{_SNAPSHOTS}.StatSnapshotResponse",
    ),
    f"{_SNAPSHOTS}.Snapshots/Commit": (f"{_SNAPSHOTS}.CommitSnapshotRequest", _EMPTY),
    f"{_SNAPSHOTS}.Snapshots/Remove": (f"{_SNAPSHOTS}.RemoveSnapshotRequest", _EMPTY),
    "containerd.services.leases.v1.Leases/Delete": ("containerd.services.leases.v1.DeleteRequest", _EMPTY),
    "containerd.services.events.v1.Events/Subscribe": (
        "containerd.services.events.v1.SubscribeRequest",
        "containerd.services.events.v1.Envelope",
    ),
}
