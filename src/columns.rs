//! The columns of `CommonSecurityLog`, and which CEF key fills which of them.
//!
//! Two tables, kept as data so that a reader can hold them line by line against Microsoft's pages:
//! the table reference of `CommonSecurityLog` for [`COLUMNS`], and "CEF and CommonSecurityLog field
//! mapping" for [`KEYS`]. Where the two pages spell a column differently the table wins, since a
//! column that the table lacks is billed and not stored.

/// What a column holds; the names are those of a data collection rule's stream declaration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `string`, at most [`crate::limits::COLUMN_BYTES_MAX`] bytes of UTF-8.
    Text,
    /// `int`: 32 bits, signed.
    Int,
    /// `long`: 64 bits, signed.
    Long,
    /// `real`: a finite double.
    Real,
    /// `datetime`: ISO 8601, UTC.
    DateTime,
}

impl Kind {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Text => "string",
            Kind::Int => "int",
            Kind::Long => "long",
            Kind::Real => "real",
            Kind::DateTime => "datetime",
        }
    }
}

/// Who may fill a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// One of the CEF header fields.
    Header,
    /// An extension key, by [`KEYS`].
    Extension,
    /// cefline itself: nothing that a sender writes reaches it by name.
    Forwarder,
    /// The service, after ingestion. Never sent.
    Service,
}

/// One column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name, in the table's spelling.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Who fills it.
    pub origin: Origin,
}

/// One extension key that has a column of its own.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The key as senders write it.
    pub key: &'static str,
    /// The full name that the CEF guide gives it, for the reader.
    pub full_name: &'static str,
    /// The columns that its value fills; a value that fits none of them goes to
    /// `AdditionalExtensions`.
    pub columns: &'static [&'static str],
}

const fn column(name: &'static str, kind: Kind, origin: Origin) -> Column {
    Column { name, kind, origin }
}

const fn key(key: &'static str, full_name: &'static str, columns: &'static [&'static str]) -> Key {
    Key {
        key,
        full_name,
        columns,
    }
}

/// The table `CommonSecurityLog`, by name.
#[rustfmt::skip]
pub const COLUMNS: &[Column] = &[
    column("Activity", Kind::Text, Origin::Header),
    column("AdditionalExtensions", Kind::Text, Origin::Forwarder),
    column("ApplicationProtocol", Kind::Text, Origin::Extension),
    column("CollectorHostName", Kind::Text, Origin::Forwarder),
    column("CommunicationDirection", Kind::Text, Origin::Extension),
    column("Computer", Kind::Text, Origin::Forwarder),
    column("DestinationDnsDomain", Kind::Text, Origin::Extension),
    column("DestinationHostName", Kind::Text, Origin::Extension),
    column("DestinationIP", Kind::Text, Origin::Extension),
    column("DestinationMACAddress", Kind::Text, Origin::Extension),
    column("DestinationNTDomain", Kind::Text, Origin::Extension),
    column("DestinationPort", Kind::Int, Origin::Extension),
    column("DestinationProcessId", Kind::Int, Origin::Extension),
    column("DestinationProcessName", Kind::Text, Origin::Extension),
    column("DestinationServiceName", Kind::Text, Origin::Extension),
    column("DestinationTranslatedAddress", Kind::Text, Origin::Extension),
    column("DestinationTranslatedPort", Kind::Int, Origin::Extension),
    column("DestinationUserID", Kind::Text, Origin::Extension),
    column("DestinationUserName", Kind::Text, Origin::Extension),
    column("DestinationUserPrivileges", Kind::Text, Origin::Extension),
    column("DeviceAction", Kind::Text, Origin::Extension),
    column("DeviceAddress", Kind::Text, Origin::Extension),
    column("DeviceCustomDate1", Kind::Text, Origin::Extension),
    column("DeviceCustomDate1Label", Kind::Text, Origin::Extension),
    column("DeviceCustomDate2", Kind::Text, Origin::Extension),
    column("DeviceCustomDate2Label", Kind::Text, Origin::Extension),
    column("DeviceCustomFloatingPoint1", Kind::Real, Origin::Extension),
    column("DeviceCustomFloatingPoint1Label", Kind::Text, Origin::Extension),
    column("DeviceCustomFloatingPoint2", Kind::Real, Origin::Extension),
    column("DeviceCustomFloatingPoint2Label", Kind::Text, Origin::Extension),
    column("DeviceCustomFloatingPoint3", Kind::Real, Origin::Extension),
    column("DeviceCustomFloatingPoint3Label", Kind::Text, Origin::Extension),
    column("DeviceCustomFloatingPoint4", Kind::Real, Origin::Extension),
    column("DeviceCustomFloatingPoint4Label", Kind::Text, Origin::Extension),
    column("DeviceCustomIPv6Address1", Kind::Text, Origin::Extension),
    column("DeviceCustomIPv6Address1Label", Kind::Text, Origin::Extension),
    column("DeviceCustomIPv6Address2", Kind::Text, Origin::Extension),
    column("DeviceCustomIPv6Address2Label", Kind::Text, Origin::Extension),
    column("DeviceCustomIPv6Address3", Kind::Text, Origin::Extension),
    column("DeviceCustomIPv6Address3Label", Kind::Text, Origin::Extension),
    column("DeviceCustomIPv6Address4", Kind::Text, Origin::Extension),
    column("DeviceCustomIPv6Address4Label", Kind::Text, Origin::Extension),
    column("DeviceCustomNumber1", Kind::Int, Origin::Extension),
    column("DeviceCustomNumber1Label", Kind::Text, Origin::Extension),
    column("DeviceCustomNumber2", Kind::Int, Origin::Extension),
    column("DeviceCustomNumber2Label", Kind::Text, Origin::Extension),
    column("DeviceCustomNumber3", Kind::Int, Origin::Extension),
    column("DeviceCustomNumber3Label", Kind::Text, Origin::Extension),
    column("DeviceCustomString1", Kind::Text, Origin::Extension),
    column("DeviceCustomString1Label", Kind::Text, Origin::Extension),
    column("DeviceCustomString2", Kind::Text, Origin::Extension),
    column("DeviceCustomString2Label", Kind::Text, Origin::Extension),
    column("DeviceCustomString3", Kind::Text, Origin::Extension),
    column("DeviceCustomString3Label", Kind::Text, Origin::Extension),
    column("DeviceCustomString4", Kind::Text, Origin::Extension),
    column("DeviceCustomString4Label", Kind::Text, Origin::Extension),
    column("DeviceCustomString5", Kind::Text, Origin::Extension),
    column("DeviceCustomString5Label", Kind::Text, Origin::Extension),
    column("DeviceCustomString6", Kind::Text, Origin::Extension),
    column("DeviceCustomString6Label", Kind::Text, Origin::Extension),
    column("DeviceDnsDomain", Kind::Text, Origin::Extension),
    column("DeviceEventCategory", Kind::Text, Origin::Extension),
    column("DeviceEventClassID", Kind::Text, Origin::Header),
    column("DeviceExternalID", Kind::Text, Origin::Extension),
    column("DeviceFacility", Kind::Text, Origin::Extension),
    column("DeviceInboundInterface", Kind::Text, Origin::Extension),
    column("DeviceMacAddress", Kind::Text, Origin::Extension),
    column("DeviceName", Kind::Text, Origin::Extension),
    column("DeviceNtDomain", Kind::Text, Origin::Extension),
    column("DeviceOutboundInterface", Kind::Text, Origin::Extension),
    column("DevicePayloadId", Kind::Text, Origin::Extension),
    column("DeviceProduct", Kind::Text, Origin::Header),
    column("DeviceTimeZone", Kind::Text, Origin::Extension),
    column("DeviceTranslatedAddress", Kind::Text, Origin::Extension),
    column("DeviceVendor", Kind::Text, Origin::Header),
    column("DeviceVersion", Kind::Text, Origin::Header),
    column("EndTime", Kind::DateTime, Origin::Extension),
    column("EventCount", Kind::Int, Origin::Extension),
    column("EventOutcome", Kind::Text, Origin::Extension),
    column("EventType", Kind::Int, Origin::Extension),
    column("ExtID", Kind::Text, Origin::Extension),
    column("ExternalID", Kind::Int, Origin::Extension),
    column("FieldDeviceCustomNumber1", Kind::Long, Origin::Extension),
    column("FieldDeviceCustomNumber2", Kind::Long, Origin::Extension),
    column("FieldDeviceCustomNumber3", Kind::Long, Origin::Extension),
    column("FileCreateTime", Kind::Text, Origin::Extension),
    column("FileHash", Kind::Text, Origin::Extension),
    column("FileID", Kind::Text, Origin::Extension),
    column("FileModificationTime", Kind::Text, Origin::Extension),
    column("FileName", Kind::Text, Origin::Extension),
    column("FilePath", Kind::Text, Origin::Extension),
    column("FilePermission", Kind::Text, Origin::Extension),
    column("FileSize", Kind::Int, Origin::Extension),
    column("FileType", Kind::Text, Origin::Extension),
    column("FlexDate1", Kind::Text, Origin::Extension),
    column("FlexDate1Label", Kind::Text, Origin::Extension),
    column("FlexNumber1", Kind::Int, Origin::Extension),
    column("FlexNumber1Label", Kind::Text, Origin::Extension),
    column("FlexNumber2", Kind::Int, Origin::Extension),
    column("FlexNumber2Label", Kind::Text, Origin::Extension),
    column("FlexString1", Kind::Text, Origin::Extension),
    column("FlexString1Label", Kind::Text, Origin::Extension),
    column("FlexString2", Kind::Text, Origin::Extension),
    column("FlexString2Label", Kind::Text, Origin::Extension),
    column("IndicatorThreatType", Kind::Text, Origin::Service),
    column("LogSeverity", Kind::Text, Origin::Header),
    column("MaliciousIP", Kind::Text, Origin::Service),
    column("MaliciousIPCountry", Kind::Text, Origin::Service),
    column("MaliciousIPLatitude", Kind::Real, Origin::Service),
    column("MaliciousIPLongitude", Kind::Real, Origin::Service),
    column("Message", Kind::Text, Origin::Extension),
    column("OldFileCreateTime", Kind::Text, Origin::Extension),
    column("OldFileHash", Kind::Text, Origin::Extension),
    column("OldFileID", Kind::Text, Origin::Extension),
    column("OldFileModificationTime", Kind::Text, Origin::Extension),
    column("OldFileName", Kind::Text, Origin::Extension),
    column("OldFilePath", Kind::Text, Origin::Extension),
    column("OldFilePermission", Kind::Text, Origin::Extension),
    column("OldFileSize", Kind::Int, Origin::Extension),
    column("OldFileType", Kind::Text, Origin::Extension),
    column("OriginalLogSeverity", Kind::Text, Origin::Service),
    column("ProcessID", Kind::Int, Origin::Extension),
    column("ProcessName", Kind::Text, Origin::Extension),
    column("Protocol", Kind::Text, Origin::Extension),
    column("Reason", Kind::Text, Origin::Extension),
    column("ReceiptTime", Kind::Text, Origin::Extension),
    column("ReceivedBytes", Kind::Long, Origin::Extension),
    column("RemoteIP", Kind::Text, Origin::Service),
    column("RemotePort", Kind::Text, Origin::Service),
    column("ReportReferenceLink", Kind::Text, Origin::Service),
    column("RequestClientApplication", Kind::Text, Origin::Extension),
    column("RequestContext", Kind::Text, Origin::Extension),
    column("RequestCookies", Kind::Text, Origin::Extension),
    column("RequestMethod", Kind::Text, Origin::Extension),
    column("RequestURL", Kind::Text, Origin::Extension),
    column("SentBytes", Kind::Long, Origin::Extension),
    column("SimplifiedDeviceAction", Kind::Text, Origin::Service),
    column("SourceDnsDomain", Kind::Text, Origin::Extension),
    column("SourceHostName", Kind::Text, Origin::Extension),
    column("SourceIP", Kind::Text, Origin::Extension),
    column("SourceMACAddress", Kind::Text, Origin::Extension),
    column("SourceNTDomain", Kind::Text, Origin::Extension),
    column("SourcePort", Kind::Int, Origin::Extension),
    column("SourceProcessId", Kind::Int, Origin::Extension),
    column("SourceProcessName", Kind::Text, Origin::Extension),
    column("SourceServiceName", Kind::Text, Origin::Extension),
    column("SourceSystem", Kind::Text, Origin::Service),
    column("SourceTranslatedAddress", Kind::Text, Origin::Extension),
    column("SourceTranslatedPort", Kind::Int, Origin::Extension),
    column("SourceUserID", Kind::Text, Origin::Extension),
    column("SourceUserName", Kind::Text, Origin::Extension),
    column("SourceUserPrivileges", Kind::Text, Origin::Extension),
    column("StartTime", Kind::DateTime, Origin::Extension),
    column("TenantId", Kind::Text, Origin::Service),
    column("ThreatConfidence", Kind::Text, Origin::Service),
    column("ThreatDescription", Kind::Text, Origin::Service),
    column("ThreatSeverity", Kind::Int, Origin::Service),
    column("TimeGenerated", Kind::DateTime, Origin::Forwarder),
    column("Type", Kind::Text, Origin::Service),
    column("_BilledSize", Kind::Real, Origin::Service),
    column("_IsBillable", Kind::Text, Origin::Service),
    column("_ResourceId", Kind::Text, Origin::Service),
    column("_SubscriptionId", Kind::Text, Origin::Service),
];

/// The extension keys that have a column, by key. Every other key goes to `AdditionalExtensions`
/// under its own spelling. A key with two columns fills each whose kind its value fits:
/// `DeviceCustomNumber1` is the 32-bit column that older rules read, `FieldDeviceCustomNumber1` its
/// 64-bit successor.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key("act", "deviceAction", &["DeviceAction"]),
    key("app", "applicationProtocol", &["ApplicationProtocol"]),
    key("c6a1", "deviceCustomIPv6Address1", &["DeviceCustomIPv6Address1"]),
    key("c6a1Label", "deviceCustomIPv6Address1Label", &["DeviceCustomIPv6Address1Label"]),
    key("c6a2", "deviceCustomIPv6Address2", &["DeviceCustomIPv6Address2"]),
    key("c6a2Label", "deviceCustomIPv6Address2Label", &["DeviceCustomIPv6Address2Label"]),
    key("c6a3", "deviceCustomIPv6Address3", &["DeviceCustomIPv6Address3"]),
    key("c6a3Label", "deviceCustomIPv6Address3Label", &["DeviceCustomIPv6Address3Label"]),
    key("c6a4", "deviceCustomIPv6Address4", &["DeviceCustomIPv6Address4"]),
    key("c6a4Label", "deviceCustomIPv6Address4Label", &["DeviceCustomIPv6Address4Label"]),
    key("cat", "deviceEventCategory", &["DeviceEventCategory"]),
    key("cfp1", "deviceCustomFloatingPoint1", &["DeviceCustomFloatingPoint1"]),
    key("cfp1Label", "deviceCustomFloatingPoint1Label", &["DeviceCustomFloatingPoint1Label"]),
    key("cfp2", "deviceCustomFloatingPoint2", &["DeviceCustomFloatingPoint2"]),
    key("cfp2Label", "deviceCustomFloatingPoint2Label", &["DeviceCustomFloatingPoint2Label"]),
    key("cfp3", "deviceCustomFloatingPoint3", &["DeviceCustomFloatingPoint3"]),
    key("cfp3Label", "deviceCustomFloatingPoint3Label", &["DeviceCustomFloatingPoint3Label"]),
    key("cfp4", "deviceCustomFloatingPoint4", &["DeviceCustomFloatingPoint4"]),
    key("cfp4Label", "deviceCustomFloatingPoint4Label", &["DeviceCustomFloatingPoint4Label"]),
    key("cn1", "deviceCustomNumber1", &["DeviceCustomNumber1", "FieldDeviceCustomNumber1"]),
    key("cn1Label", "deviceCustomNumber1Label", &["DeviceCustomNumber1Label"]),
    key("cn2", "deviceCustomNumber2", &["DeviceCustomNumber2", "FieldDeviceCustomNumber2"]),
    key("cn2Label", "deviceCustomNumber2Label", &["DeviceCustomNumber2Label"]),
    key("cn3", "deviceCustomNumber3", &["DeviceCustomNumber3", "FieldDeviceCustomNumber3"]),
    key("cn3Label", "deviceCustomNumber3Label", &["DeviceCustomNumber3Label"]),
    key("cnt", "baseEventCount", &["EventCount"]),
    key("cs1", "deviceCustomString1", &["DeviceCustomString1"]),
    key("cs1Label", "deviceCustomString1Label", &["DeviceCustomString1Label"]),
    key("cs2", "deviceCustomString2", &["DeviceCustomString2"]),
    key("cs2Label", "deviceCustomString2Label", &["DeviceCustomString2Label"]),
    key("cs3", "deviceCustomString3", &["DeviceCustomString3"]),
    key("cs3Label", "deviceCustomString3Label", &["DeviceCustomString3Label"]),
    key("cs4", "deviceCustomString4", &["DeviceCustomString4"]),
    key("cs4Label", "deviceCustomString4Label", &["DeviceCustomString4Label"]),
    key("cs5", "deviceCustomString5", &["DeviceCustomString5"]),
    key("cs5Label", "deviceCustomString5Label", &["DeviceCustomString5Label"]),
    key("cs6", "deviceCustomString6", &["DeviceCustomString6"]),
    key("cs6Label", "deviceCustomString6Label", &["DeviceCustomString6Label"]),
    key("destinationDnsDomain", "destinationDnsDomain", &["DestinationDnsDomain"]),
    key("destinationServiceName", "destinationServiceName", &["DestinationServiceName"]),
    key("destinationTranslatedAddress", "destinationTranslatedAddress", &["DestinationTranslatedAddress"]),
    key("destinationTranslatedPort", "destinationTranslatedPort", &["DestinationTranslatedPort"]),
    key("deviceCustomDate1", "deviceCustomDate1", &["DeviceCustomDate1"]),
    key("deviceCustomDate1Label", "deviceCustomDate1Label", &["DeviceCustomDate1Label"]),
    key("deviceCustomDate2", "deviceCustomDate2", &["DeviceCustomDate2"]),
    key("deviceCustomDate2Label", "deviceCustomDate2Label", &["DeviceCustomDate2Label"]),
    key("deviceDirection", "deviceDirection", &["CommunicationDirection"]),
    key("deviceDnsDomain", "deviceDnsDomain", &["DeviceDnsDomain"]),
    key("deviceExternalId", "deviceExternalId", &["DeviceExternalID"]),
    key("deviceFacility", "deviceFacility", &["DeviceFacility"]),
    key("deviceInboundInterface", "deviceInboundInterface", &["DeviceInboundInterface"]),
    key("deviceNtDomain", "deviceNtDomain", &["DeviceNtDomain"]),
    key("deviceOutboundInterface", "deviceOutboundInterface", &["DeviceOutboundInterface"]),
    key("devicePayloadId", "devicePayloadId", &["DevicePayloadId"]),
    key("deviceProcessName", "deviceProcessName", &["ProcessName"]),
    key("deviceTranslatedAddress", "deviceTranslatedAddress", &["DeviceTranslatedAddress"]),
    key("dhost", "destinationHostName", &["DestinationHostName"]),
    key("dmac", "destinationMacAddress", &["DestinationMACAddress"]),
    key("dntdom", "destinationNtDomain", &["DestinationNTDomain"]),
    key("dpid", "destinationProcessId", &["DestinationProcessId"]),
    key("dpriv", "destinationUserPrivileges", &["DestinationUserPrivileges"]),
    key("dproc", "destinationProcessName", &["DestinationProcessName"]),
    key("dpt", "destinationPort", &["DestinationPort"]),
    key("dst", "destinationAddress", &["DestinationIP"]),
    key("dtz", "deviceTimeZone", &["DeviceTimeZone"]),
    key("duid", "destinationUserId", &["DestinationUserID"]),
    key("duser", "destinationUserName", &["DestinationUserName"]),
    key("dvc", "deviceAddress", &["DeviceAddress"]),
    key("dvchost", "deviceHostName", &["DeviceName"]),
    key("dvcmac", "deviceMacAddress", &["DeviceMacAddress"]),
    key("dvcpid", "deviceProcessId", &["ProcessID"]),
    key("end", "endTime", &["EndTime"]),
    key("externalId", "externalId", &["ExtID", "ExternalID"]),
    key("fileCreateTime", "fileCreateTime", &["FileCreateTime"]),
    key("fileHash", "fileHash", &["FileHash"]),
    key("fileId", "fileId", &["FileID"]),
    key("fileModificationTime", "fileModificationTime", &["FileModificationTime"]),
    key("filePath", "filePath", &["FilePath"]),
    key("filePermission", "filePermission", &["FilePermission"]),
    key("fileType", "fileType", &["FileType"]),
    key("flexDate1", "flexDate1", &["FlexDate1"]),
    key("flexDate1Label", "flexDate1Label", &["FlexDate1Label"]),
    key("flexNumber1", "flexNumber1", &["FlexNumber1"]),
    key("flexNumber1Label", "flexNumber1Label", &["FlexNumber1Label"]),
    key("flexNumber2", "flexNumber2", &["FlexNumber2"]),
    key("flexNumber2Label", "flexNumber2Label", &["FlexNumber2Label"]),
    key("flexString1", "flexString1", &["FlexString1"]),
    key("flexString1Label", "flexString1Label", &["FlexString1Label"]),
    key("flexString2", "flexString2", &["FlexString2"]),
    key("flexString2Label", "flexString2Label", &["FlexString2Label"]),
    key("fname", "fileName", &["FileName"]),
    key("fsize", "fileSize", &["FileSize"]),
    key("in", "bytesIn", &["ReceivedBytes"]),
    key("msg", "message", &["Message"]),
    key("oldFileCreateTime", "oldFileCreateTime", &["OldFileCreateTime"]),
    key("oldFileHash", "oldFileHash", &["OldFileHash"]),
    key("oldFileId", "oldFileId", &["OldFileID"]),
    key("oldFileModificationTime", "oldFileModificationTime", &["OldFileModificationTime"]),
    key("oldFileName", "oldFileName", &["OldFileName"]),
    key("oldFilePath", "oldFilePath", &["OldFilePath"]),
    key("oldFilePermission", "oldFilePermission", &["OldFilePermission"]),
    key("oldFileSize", "oldFileSize", &["OldFileSize"]),
    key("oldFileType", "oldFileType", &["OldFileType"]),
    key("out", "bytesOut", &["SentBytes"]),
    key("outcome", "eventOutcome", &["EventOutcome"]),
    key("proto", "transportProtocol", &["Protocol"]),
    key("reason", "reason", &["Reason"]),
    key("request", "requestUrl", &["RequestURL"]),
    key("requestClientApplication", "requestClientApplication", &["RequestClientApplication"]),
    key("requestContext", "requestContext", &["RequestContext"]),
    key("requestCookies", "requestCookies", &["RequestCookies"]),
    key("requestMethod", "requestMethod", &["RequestMethod"]),
    key("rt", "deviceReceiptTime", &["ReceiptTime"]),
    key("shost", "sourceHostName", &["SourceHostName"]),
    key("smac", "sourceMacAddress", &["SourceMACAddress"]),
    key("sntdom", "sourceNtDomain", &["SourceNTDomain"]),
    key("sourceDnsDomain", "sourceDnsDomain", &["SourceDnsDomain"]),
    key("sourceServiceName", "sourceServiceName", &["SourceServiceName"]),
    key("sourceTranslatedAddress", "sourceTranslatedAddress", &["SourceTranslatedAddress"]),
    key("sourceTranslatedPort", "sourceTranslatedPort", &["SourceTranslatedPort"]),
    key("spid", "sourceProcessId", &["SourceProcessId"]),
    key("spriv", "sourceUserPrivileges", &["SourceUserPrivileges"]),
    key("sproc", "sourceProcessName", &["SourceProcessName"]),
    key("spt", "sourcePort", &["SourcePort"]),
    key("src", "sourceAddress", &["SourceIP"]),
    key("start", "startTime", &["StartTime"]),
    key("suid", "sourceUserId", &["SourceUserID"]),
    key("suser", "sourceUserName", &["SourceUserName"]),
    key("type", "type", &["EventType"]),
];

/// Number of a column: its place in [`COLUMNS`].
pub type ColumnId = u8;

const _: () = assert!(COLUMNS.len() <= ColumnId::MAX as usize);

/// The number of the column of this name; [`ColumnId::MAX`] if there is none.
#[must_use]
pub const fn id(name: &str) -> ColumnId {
    let name = name.as_bytes();
    let mut index = 0;
    while index < COLUMNS.len() {
        let other = COLUMNS[index].name.as_bytes();
        let mut at = 0;
        while at < name.len() && at < other.len() && name[at] == other[at] {
            at += 1;
        }
        if at == name.len() && at == other.len() {
            return index as ColumnId;
        }
        index += 1;
    }
    ColumnId::MAX
}

/// The column of this name.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Column> {
    COLUMNS.get(usize::from(id(name)))
}
