"""Appliances as VMware, VirtualBox and XenServer export them, and as hostile people would, for tests of imports.

The descriptors are our own; what they have in common with real ones are the elements and words that each of the three
writes: VMware's OVF 1.1 with vmw:Config, VirtualBox's 2.0 with StorageItem and its own machine, XenServer's with VHDs,
a collection around the machine, and disks without a controller.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

RASD = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
VSSD = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData"
STREAM = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"

VMWARE = """\
<?xml version="1.0" encoding="UTF-8"?>
<!--Written in the manner of VMware ESXi-->
<Envelope vmw:buildId="build-1" xmlns="http://schemas.dmtf.org/ovf/envelope/1"
 xmlns:cim="http://schemas.dmtf.org/wbem/wscim/1/common" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
 xmlns:rasd="{rasd}" xmlns:vmw="http://www.vmware.com/schema/ovf" xmlns:vssd="{vssd}">
  <References>
    <File ovf:href="{files[0]}" ovf:id="file1" ovf:size="1"/>
    <File ovf:href="{files[1]}" ovf:id="file2" ovf:size="1"/>
    <File ovf:href="web-3.nvram" ovf:id="file3" ovf:size="8684"/>
  </References>
  <DiskSection>
    <Info>List of the virtual disks</Info>
    <Disk ovf:capacity="{mib}" ovf:capacityAllocationUnits="byte * 2^20" ovf:diskId="vmdisk1" ovf:fileRef="file1"
     ovf:format="{stream}" ovf:populatedSize="1"/>
    <Disk ovf:capacity="{mib}" ovf:capacityAllocationUnits="byte * 2^20" ovf:diskId="vmdisk2" ovf:fileRef="file2"
     ovf:format="{stream}"/>
  </DiskSection>
  <NetworkSection>
    <Info>The list of logical networks</Info>
    <Network ovf:name="VM Network"><Description>The VM Network network</Description></Network>
    <Network ovf:name="Backup"/>
  </NetworkSection>
  <VirtualSystem ovf:id="vm">
    <Info>A virtual machine</Info>
    <Name>Web Server 1</Name>
    <OperatingSystemSection ovf:id="{os_id}" vmw:osType="{os}"><Info>The kind of guest</Info></OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>Virtual hardware requirements</Info>
      <System><vssd:ElementName>Virtual Hardware Family</vssd:ElementName><vssd:InstanceID>0</vssd:InstanceID>
       <vssd:VirtualSystemIdentifier>Web Server 1</vssd:VirtualSystemIdentifier>
       <vssd:VirtualSystemType>vmx-19</vssd:VirtualSystemType></System>
      <Item><rasd:AllocationUnits>hertz * 10^6</rasd:AllocationUnits>
       <rasd:ElementName>4 virtual CPU(s)</rasd:ElementName>
       <rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType>
       <rasd:VirtualQuantity>4</rasd:VirtualQuantity>
        <vmw:CoresPerSocket ovf:required="false">2</vmw:CoresPerSocket></Item>
      <Item><rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits>
       <rasd:ElementName>2048MB of memory</rasd:ElementName>
       <rasd:InstanceID>2</rasd:InstanceID><rasd:ResourceType>4</rasd:ResourceType>
       <rasd:VirtualQuantity>2048</rasd:VirtualQuantity></Item>
      <Item><rasd:Address>0</rasd:Address><rasd:ElementName>SCSI Controller 0</rasd:ElementName>
       <rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceSubType>VirtualSCSI</rasd:ResourceSubType>
       <rasd:ResourceType>6</rasd:ResourceType></Item>
      <Item><rasd:Address>0</rasd:Address><rasd:ElementName>IDE 0</rasd:ElementName>
       <rasd:InstanceID>4</rasd:InstanceID>
       <rasd:ResourceType>5</rasd:ResourceType></Item>
      <Item ovf:required="false"><rasd:ElementName>Video card</rasd:ElementName><rasd:InstanceID>5</rasd:InstanceID>
       <rasd:ResourceType>24</rasd:ResourceType></Item>
      <Item ovf:required="false"><rasd:ElementName>VMCI device</rasd:ElementName><rasd:InstanceID>6</rasd:InstanceID>
       <rasd:ResourceSubType>vmware.vmci</rasd:ResourceSubType><rasd:ResourceType>1</rasd:ResourceType></Item>
      <Item ovf:required="false"><rasd:AddressOnParent>0</rasd:AddressOnParent>
       <rasd:ElementName>CD/DVD drive 1</rasd:ElementName><rasd:InstanceID>7</rasd:InstanceID>
        <rasd:Parent>4</rasd:Parent>
       <rasd:ResourceSubType>vmware.cdrom.remotepassthrough</rasd:ResourceSubType>
       <rasd:ResourceType>15</rasd:ResourceType></Item>
      <Item><rasd:AddressOnParent>1</rasd:AddressOnParent><rasd:ElementName>Hard disk 2</rasd:ElementName>
       <rasd:HostResource>ovf:/disk/vmdisk2</rasd:HostResource><rasd:InstanceID>8</rasd:InstanceID>
       <rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
      <Item><rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:ElementName>Hard disk 1</rasd:ElementName>
       <rasd:HostResource>ovf:/disk/vmdisk1</rasd:HostResource><rasd:InstanceID>9</rasd:InstanceID>
       <rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
      <Item><rasd:AddressOnParent>7</rasd:AddressOnParent><rasd:AutomaticAllocation>true</rasd:AutomaticAllocation>
       <rasd:Connection>VM Network</rasd:Connection><rasd:ElementName>Ethernet 1</rasd:ElementName>
       <rasd:InstanceID>10</rasd:InstanceID><rasd:ResourceSubType>VmxNet3</rasd:ResourceSubType>
       <rasd:ResourceType>10</rasd:ResourceType></Item>
      <Item><rasd:Address>00:50:56:ab:cd:ef</rasd:Address><rasd:AddressOnParent>8</rasd:AddressOnParent>
       <rasd:Connection>Backup</rasd:Connection><rasd:ElementName>Ethernet 2</rasd:ElementName>
       <rasd:InstanceID>11</rasd:InstanceID><rasd:ResourceSubType>E1000e</rasd:ResourceSubType>
       <rasd:ResourceType>10</rasd:ResourceType></Item>
      <Item ovf:required="false"><rasd:ElementName>Virtual TPM</rasd:ElementName><rasd:InstanceID>12</rasd:InstanceID>
       <rasd:ResourceSubType>vmware.vtpm</rasd:ResourceSubType><rasd:ResourceType>1</rasd:ResourceType></Item>
      <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="{firmware}"/>
      <vmw:Config ovf:required="false" vmw:key="bootOptions.efiSecureBootEnabled" vmw:value="{secure}"/>
      <vmw:ExtraConfig ovf:required="false" vmw:key="nvram" vmw:value="ovf:/file/file3"/>
    </VirtualHardwareSection>
    <AnnotationSection><Info>A note</Info><Annotation>Runs the shop</Annotation></AnnotationSection>
    <ProductSection><Info>About the software</Info><Property ovf:key="ip" ovf:type="string"/></ProductSection>
  </VirtualSystem>
</Envelope>
"""

VIRTUALBOX = """\
<?xml version="1.0"?>
<Envelope ovf:version="2.0" xml:lang="en-US" xmlns="http://schemas.dmtf.org/ovf/envelope/2"
 xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/2" xmlns:rasd="{rasd}" xmlns:vssd="{vssd}"
 xmlns:vbox="http://www.virtualbox.org/ovf/machine"
 xmlns:epasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_EthernetPortAllocationSettingData.xsd"
 xmlns:sasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_StorageAllocationSettingData.xsd">
  <References>
    <File ovf:id="file1" ovf:href="{files[0]}"/>
    <File ovf:id="file2" ovf:href="{files[1]}"/>
  </References>
  <DiskSection>
    <Info>List of the virtual disks used in the package</Info>
    <Disk ovf:capacity="{bytes}" ovf:diskId="vmdisk1" ovf:fileRef="file1" ovf:format="{stream}" vbox:uuid="1"/>
    <Disk ovf:capacity="{bytes}" ovf:diskId="vmdisk2" ovf:fileRef="file2" ovf:format="{stream}" vbox:uuid="2"/>
  </DiskSection>
  <NetworkSection><Info>Logical networks</Info><Network ovf:name="NAT"/><Network ovf:name="Bridged"/></NetworkSection>
  <VirtualSystem ovf:id="mail">
    <Info>A virtual machine</Info>
    <OperatingSystemSection ovf:id="96"><Info>The kind of guest</Info><Description>{os}</Description>
      <vbox:OSType ovf:required="false">{os}</vbox:OSType></OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>Virtual hardware requirements for a virtual machine</Info>
      <System><vssd:ElementName>Virtual Hardware Family</vssd:ElementName><vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>mail</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>virtualbox-2.2</vssd:VirtualSystemType></System>
      <Item><rasd:Caption>2 virtual CPU</rasd:Caption><rasd:InstanceID>1</rasd:InstanceID>
        <rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>2</rasd:VirtualQuantity></Item>
      <Item><rasd:AllocationUnits>MegaBytes</rasd:AllocationUnits><rasd:Caption>1024 MB of memory</rasd:Caption>
        <rasd:InstanceID>2</rasd:InstanceID><rasd:ResourceType>4</rasd:ResourceType>
        <rasd:VirtualQuantity>1024</rasd:VirtualQuantity></Item>
      <Item><rasd:Address>0</rasd:Address><rasd:Caption>sataController0</rasd:Caption>
       <rasd:InstanceID>3</rasd:InstanceID>
        <rasd:ResourceSubType>AHCI</rasd:ResourceSubType><rasd:ResourceType>20</rasd:ResourceType></Item>
      <Item><rasd:Address>0</rasd:Address><rasd:Caption>usb</rasd:Caption><rasd:InstanceID>4</rasd:InstanceID>
        <rasd:ResourceType>23</rasd:ResourceType></Item>
      <Item><rasd:AddressOnParent>3</rasd:AddressOnParent><rasd:AutomaticAllocation>false</rasd:AutomaticAllocation>
        <rasd:Caption>sound</rasd:Caption><rasd:InstanceID>5</rasd:InstanceID>
        <rasd:ResourceSubType>ensoniq1371</rasd:ResourceSubType><rasd:ResourceType>35</rasd:ResourceType></Item>
      <StorageItem><sasd:AddressOnParent>0</sasd:AddressOnParent><sasd:Caption>disk1</sasd:Caption>
        <sasd:HostResource>/disk/vmdisk1</sasd:HostResource><sasd:InstanceID>6</sasd:InstanceID>
        <sasd:Parent>3</sasd:Parent><sasd:ResourceType>17</sasd:ResourceType></StorageItem>
      <StorageItem><sasd:AddressOnParent>1</sasd:AddressOnParent><sasd:Caption>disk2</sasd:Caption>
        <sasd:HostResource>/disk/vmdisk2</sasd:HostResource><sasd:InstanceID>7</sasd:InstanceID>
        <sasd:Parent>3</sasd:Parent><sasd:ResourceType>17</sasd:ResourceType></StorageItem>
      <EthernetPortItem><epasd:AutomaticAllocation>true</epasd:AutomaticAllocation>
        <epasd:Connection>NAT</epasd:Connection><epasd:InstanceID>8</epasd:InstanceID>
        <epasd:ResourceSubType>E1000</epasd:ResourceSubType><epasd:ResourceType>10</epasd:ResourceType>
         </EthernetPortItem>
      <EthernetPortItem><epasd:AutomaticAllocation>true</epasd:AutomaticAllocation>
        <epasd:Connection>Bridged</epasd:Connection><epasd:InstanceID>9</epasd:InstanceID>
        <epasd:ResourceSubType>PCNet32</epasd:ResourceSubType><epasd:ResourceType>10</epasd:ResourceType>
      </EthernetPortItem>
    </VirtualHardwareSection>
    <vbox:Machine ovf:required="false" version="1.19-linux" name="mail" OSType="{os}">
      <ovf:Info>Complete VirtualBox machine configuration in VirtualBox format</ovf:Info>
      <Hardware>
        <CPU count="2"/><Memory RAMSize="1024"/><Firmware type="EFI"/>
        <Network>
          <Adapter slot="0" enabled="true" MACAddress="080027AABBCC" type="82540EM"><NAT/></Adapter>
          <Adapter slot="1" enabled="true" MACAddress="080027AABBCD" type="Am79C973"/>
          <Adapter slot="2" enabled="false" MACAddress="080027AABBCE" type="82540EM"/>
        </Network>
        <AudioAdapter codec="AD1980" enabled="true"/>
      </Hardware>
    </vbox:Machine>
  </VirtualSystem>
</Envelope>
"""

XENSERVER = """\
<?xml version="1.0" encoding="utf-8"?>
<ovf:Envelope xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="{rasd}" xmlns:vssd="{vssd}"
 xmlns:xenovf="http://schemas.citrix.com/ovf/envelope/1" ovf:version="1.0.0" xml:lang="en-US">
  <ovf:References>
    <ovf:File ovf:id="c0ffee00-1" ovf:href="{files[0]}" ovf:size="1"/>
    <ovf:File ovf:id="c0ffee00-2" ovf:href="{files[1]}" ovf:size="1"/>
  </ovf:References>
  <ovf:DiskSection>
    <ovf:Info>Available Disks</ovf:Info>
    <ovf:Disk ovf:diskId="c0ffee00-1" ovf:fileRef="c0ffee00-1" ovf:capacity="{bytes}" xenovf:isBootable="true"
      ovf:format="http://www.microsoft.com/technet/virtualserver/downloads/vhdspec.mspx"/>
    <ovf:Disk ovf:diskId="c0ffee00-2" ovf:fileRef="c0ffee00-2" ovf:capacity="{bytes}"
      ovf:format="http://www.microsoft.com/technet/virtualserver/downloads/vhdspec.mspx"/>
  </ovf:DiskSection>
  <ovf:NetworkSection><ovf:Info>Available Networks</ovf:Info>
    <ovf:Network ovf:name="Pool-wide network 0"/></ovf:NetworkSection>
  <ovf:VirtualSystemCollection ovf:id="db.ovf">
    <ovf:Info>OVF/OVA Packages</ovf:Info>
    <ovf:VirtualSystem ovf:id="f00d">
      <ovf:Info>Written in the manner of XenCenter</ovf:Info>
      <ovf:Name>db</ovf:Name>
      <ovf:OperatingSystemSection ovf:id="94"><ovf:Info>Guest Operating System</ovf:Info>
        <ovf:Description>{os}</ovf:Description></ovf:OperatingSystemSection>
      <ovf:VirtualHardwareSection>
        <ovf:Info>Virtual Hardware Requirements: 1024 MB RAM; 2 CPU(s), 2 Disk(s), 2 Network(s)</ovf:Info>
        <ovf:System><vssd:ElementName>db</vssd:ElementName><vssd:InstanceID>f00d</vssd:InstanceID>
          <vssd:VirtualSystemType>hvm-3.0-unknown</vssd:VirtualSystemType></ovf:System>
        <ovf:Item><rasd:AllocationUnits>Processor Cores</rasd:AllocationUnits>
         <rasd:ElementName>Processor</rasd:ElementName>
          <rasd:InstanceID>p</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType>
          <rasd:VirtualQuantity>2</rasd:VirtualQuantity></ovf:Item>
        <ovf:Item><rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits><rasd:ElementName>Memory</rasd:ElementName>
          <rasd:InstanceID>m</rasd:InstanceID><rasd:ResourceType>4</rasd:ResourceType>
          <rasd:VirtualQuantity>1024</rasd:VirtualQuantity></ovf:Item>
        <ovf:Item><rasd:Address>3e:12:34:56:78:9a</rasd:Address><rasd:AllocationUnits>Ports</rasd:AllocationUnits>
          <rasd:Connection>Pool-wide network 0</rasd:Connection><rasd:ElementName>Ethernet Port</rasd:ElementName>
          <rasd:InstanceID>n0</rasd:InstanceID><rasd:ResourceType>10</rasd:ResourceType></ovf:Item>
        <ovf:Item><rasd:Address>3e:12:34:56:78:9b</rasd:Address><rasd:Connection>Pool-wide network 0</rasd:Connection>
          <rasd:InstanceID>n1</rasd:InstanceID><rasd:ResourceType>10</rasd:ResourceType></ovf:Item>
        <ovf:Item ovf:required="false"><rasd:ElementName>CD/DVD Drive</rasd:ElementName>
         <rasd:InstanceID>c</rasd:InstanceID>
          <rasd:ResourceType>16</rasd:ResourceType></ovf:Item>
        <ovf:Item><rasd:AddressOnParent>1</rasd:AddressOnParent><rasd:Connection>c0ffee00-2</rasd:Connection>
          <rasd:ElementName>data</rasd:ElementName><rasd:HostResource>ovf:/disk/c0ffee00-2</rasd:HostResource>
          <rasd:InstanceID>c0ffee00-2</rasd:InstanceID>
           <rasd:ResourceSubType>Virtual Hard Disk Image</rasd:ResourceSubType>
          <rasd:ResourceType>19</rasd:ResourceType></ovf:Item>
        <ovf:Item><rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:Connection>c0ffee00-1</rasd:Connection>
          <rasd:ElementName>system</rasd:ElementName><rasd:HostResource>ovf:/disk/c0ffee00-1</rasd:HostResource>
          <rasd:InstanceID>c0ffee00-1</rasd:InstanceID>
           <rasd:ResourceSubType>Virtual Hard Disk Image</rasd:ResourceSubType>
          <rasd:ResourceType>19</rasd:ResourceType></ovf:Item>
        <xenovf:VirtualSystemOtherConfigurationData ovf:required="false" Name="HVM_boot_params">
          <xenovf:Value>order=cd{boot}</xenovf:Value></xenovf:VirtualSystemOtherConfigurationData>
        <xenovf:VirtualSystemOtherConfigurationData ovf:required="false" Name="HVM_boot_policy">
          <xenovf:Value>BIOS order</xenovf:Value></xenovf:VirtualSystemOtherConfigurationData>
      </ovf:VirtualHardwareSection>
    </ovf:VirtualSystem>
  </ovf:VirtualSystemCollection>
</ovf:Envelope>
"""


def vmware(
    files: Sequence[str], size: int, *, os: str = "debian12_64Guest", firmware: str = "efi", secure: str = "false"
) -> bytes:
    """VMware's: two disks on a paravirtual SCSI controller, listed in the wrong order; `size` in bytes, whole MiB."""
    text = VMWARE.format(
        files=files,
        mib=size >> 20,
        os=os,
        os_id=96,
        firmware=firmware,
        secure=secure,
        rasd=RASD,
        vssd=VSSD,
        stream=STREAM,
    )
    return text.encode()


def virtualbox(files: Sequence[str], size: int, *, os: str = "Debian_64") -> bytes:
    """VirtualBox's: two disks on SATA, two cards whose MAC addresses stand in its own section."""
    return VIRTUALBOX.format(files=files, bytes=size, os=os, rasd=RASD, vssd=VSSD, stream=STREAM).encode()


def xenserver(files: Sequence[str], size: int, *, os: str = "XenOVF Created Export", boot: str = "") -> bytes:
    """XenServer's: two VHDs without a controller, listed in the wrong order."""
    return XENSERVER.format(files=files, bytes=size, os=os, boot=boot, rasd=RASD, vssd=VSSD).encode()


def manifest(members: Mapping[str, bytes], algorithm: str = "sha256") -> bytes:
    """A manifest in VMware's form."""
    lines = [
        f"{algorithm.upper()}({name})= {hashlib.new(algorithm, data).hexdigest()}\n" for name, data in members.items()
    ]
    return "".join(lines).encode()


def write_tar(path: Path, members: Mapping[str, bytes], *others: tarfile.TarInfo) -> Path:
    """A tar archive of plain files, and of whatever members are given besides."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
        for header in others:
            tar.addfile(header, io.BytesIO(bytes(header.size)))
    return path
