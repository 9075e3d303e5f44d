"""The fields that are used of the APIs between kubelet and drivers, written as in runtimes/cri/tables.py.

`map:Message` is a map from strings to that message. Fields of a `oneof` are written as fields: the same
on the wire.
"""

from __future__ import annotations

REGISTRATION = """
InfoRequest:
PluginInfo: type 1 string, name 2 string, endpoint 3 string, supported_versions 4 *string
RegistrationStatus: plugin_registered 1 bool, error 2 string
RegistrationStatusResponse:
"""

DRA = """
Claim: namespace 1 string, uid 2 string, name 3 string
Device: request_names 1 *string, pool_name 2 string, device_name 3 string, cdi_device_ids 4 *string, \
share_id 5 string
NodePrepareResourcesRequest: claims 1 *Claim
NodePrepareResourceResponse: devices 1 *Device, error 2 string
NodePrepareResourcesResponse: claims 1 map:NodePrepareResourceResponse
NodeUnprepareResourcesRequest: claims 1 *Claim
NodeUnprepareResourceResponse: error 1 string
NodeUnprepareResourcesResponse: claims 1 map:NodeUnprepareResourceResponse
"""

# `health` is an enumeration: unknown, healthy, unhealthy.
DRA_HEALTH = """
NodeWatchResourcesRequest:
DeviceIdentifier: pool_name 1 string, device_name 2 string
DeviceHealth: device 1 DeviceIdentifier, health 2 int32, last_updated_time 3 int64, \
health_check_timeout_seconds 4 int64, message 5 string
NodeWatchResourcesResponse: devices 1 *DeviceHealth
"""

POD_RESOURCES = """
ListPodResourcesRequest:
ListPodResourcesResponse: pod_resources 1 *PodResources
AllocatableResourcesRequest:
AllocatableResourcesResponse: devices 1 *ContainerDevices, cpu_ids 2 *int64, memory 3 *ContainerMemory
GetPodResourcesRequest: pod_name 1 string, pod_namespace 2 string
GetPodResourcesResponse: pod_resources 1 PodResources
PodResources: name 1 string, namespace 2 string, containers 3 *ContainerResources, cpu_ids 4 *int64, \
memory 5 *ContainerMemory
ContainerResources: name 1 string, devices 2 *ContainerDevices, cpu_ids 3 *int64, memory 4 *ContainerMemory, \
dynamic_resources 5 *DynamicResource
ContainerMemory: memory_type 1 string, size 2 uint64, topology 3 TopologyInfo
ContainerDevices: resource_name 1 string, device_ids 2 *string, topology 3 TopologyInfo
TopologyInfo: nodes 1 *NUMANode
NUMANode: ID 1 int64
DynamicResource: claim_name 2 string, claim_namespace 3 string, claim_resources 4 *ClaimResource
ClaimResource: cdi_devices 1 *CDIDevice, driver_name 2 string, pool_name 3 string, device_name 4 string, \
share_id 5 string
CDIDevice: name 1 string
"""

POD_RESOURCES_V1ALPHA1 = """
ListPodResourcesRequest:
ListPodResourcesResponse: pod_resources 1 *PodResources
PodResources: name 1 string, namespace 2 string, containers 3 *ContainerResources
ContainerResources: name 1 string, devices 2 *ContainerDevices
ContainerDevices: resource_name 1 string, device_ids 2 *string
"""

DEVICE_PLUGIN = """
Empty:
DevicePluginOptions: pre_start_required 1 bool, get_preferred_allocation_available 2 bool
RegisterRequest: version 1 string, endpoint 2 string, resource_name 3 string, options 4 DevicePluginOptions
NUMANode: ID 1 int64
TopologyInfo: nodes 1 *NUMANode
Device: ID 1 string, health 2 string, topology 3 TopologyInfo
ListAndWatchResponse: devices 1 *Device
PreStartContainerRequest: devices_ids 1 *string
PreStartContainerResponse:
ContainerPreferredAllocationRequest: available_deviceIDs 1 *string, must_include_deviceIDs 2 *string, \
allocation_size 3 int32
PreferredAllocationRequest: container_requests 1 *ContainerPreferredAllocationRequest
ContainerPreferredAllocationResponse: deviceIDs 1 *string
PreferredAllocationResponse: container_responses 1 *ContainerPreferredAllocationResponse
ContainerAllocateRequest: devices_ids 1 *string
AllocateRequest: container_requests 1 *ContainerAllocateRequest
CDIDevice: name 1 string
Mount: container_path 1 string, host_path 2 string, read_only 3 bool
DeviceSpec: container_path 1 string, host_path 2 string, permissions 3 string
ContainerAllocateResponse: envs 1 map, mounts 2 *Mount, devices 3 *DeviceSpec, annotations 4 map, \
cdi_devices 5 *CDIDevice
AllocateResponse: container_responses 1 *ContainerAllocateResponse
"""

CSI = """
Topology: segments 1 map
NodeGetInfoRequest:
NodeGetInfoResponse: node_id 1 string, max_volumes_per_node 2 int64, accessible_topology 3 Topology
RPC: type 1 int32
NodeServiceCapability: rpc 1 RPC
NodeGetCapabilitiesRequest:
NodeGetCapabilitiesResponse: capabilities 1 *NodeServiceCapability
BlockVolume:
MountVolume: fs_type 1 string, mount_flags 2 *string, volume_mount_group 3 string
AccessMode: mode 1 int32
VolumeCapability: block 1 BlockVolume, mount 2 MountVolume, access_mode 3 AccessMode
NodeStageVolumeRequest: volume_id 1 string, publish_context 2 map, staging_target_path 3 string, \
volume_capability 4 VolumeCapability, secrets 5 map, volume_context 6 map
NodeStageVolumeResponse:
NodeUnstageVolumeRequest: volume_id 1 string, staging_target_path 2 string
NodeUnstageVolumeResponse:
NodePublishVolumeRequest: volume_id 1 string, publish_context 2 map, staging_target_path 3 string, \
target_path 4 string, volume_capability 5 VolumeCapability, readonly 6 bool, secrets 7 map, \
volume_context 8 map
NodePublishVolumeResponse:
NodeUnpublishVolumeRequest: volume_id 1 string, target_path 2 string
NodeUnpublishVolumeResponse:
CapacityRange: required_bytes 1 int64, limit_bytes 2 int64
NodeExpandVolumeRequest: volume_id 1 string, volume_path 2 string, capacity_range 3 CapacityRange, \
staging_target_path 4 string, volume_capability 5 VolumeCapability, secrets 6 map
NodeExpandVolumeResponse: capacity_bytes 1 int64
"""

DRA_V1 = "k8s.io.kubelet.pkg.apis.dra.v1"
DRA_V1BETA1 = "k8s.io.kubelet.pkg.apis.dra.v1beta1"

PACKAGES = {
    "pluginregistration": REGISTRATION,
    DRA_V1: DRA,
    DRA_V1BETA1: DRA,
    "v1": DRA_HEALTH + POD_RESOURCES,
    "v1alpha1": DRA_HEALTH + POD_RESOURCES_V1ALPHA1,
    "v1beta1": DEVICE_PLUGIN,
    "csi.v1": CSI,
}

METHODS = {
    "pluginregistration.Registration/GetInfo": (
        "pluginregistration.InfoRequest",
        "pluginregistration.PluginInfo",
    ),
    "pluginregistration.Registration/NotifyRegistrationStatus": (
        "pluginregistration.RegistrationStatus",
        "pluginregistration.RegistrationStatusResponse",
    ),
    "v1.PodResourcesLister/List": ("v1.ListPodResourcesRequest", "v1.ListPodResourcesResponse"),
    "v1.PodResourcesLister/GetAllocatableResources": (
        "v1.AllocatableResourcesRequest",
        "v1.AllocatableResourcesResponse",
    ),
    "v1.PodResourcesLister/Get": ("v1.GetPodResourcesRequest", "v1.GetPodResourcesResponse"),
    "v1alpha1.PodResourcesLister/List": (
        "v1alpha1.ListPodResourcesRequest",
        "v1alpha1.ListPodResourcesResponse",
    ),
    "v1beta1.Registration/Register": ("v1beta1.RegisterRequest", "v1beta1.Empty"),
    "v1beta1.DevicePlugin/GetDevicePluginOptions": ("v1beta1.Empty", "v1beta1.DevicePluginOptions"),
    "v1beta1.DevicePlugin/ListAndWatch": ("v1beta1.Empty", "v1beta1.ListAndWatchResponse"),
    "v1beta1.DevicePlugin/GetPreferredAllocation": (
        "v1beta1.PreferredAllocationRequest",
        "v1beta1.PreferredAllocationResponse",
    ),
}
