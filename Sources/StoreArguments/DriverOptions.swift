public import ArgumentParser
public import Storage

/// The options of every driver, as the registry has them: what a tool's help shows and its command line takes.
///
/// `ParsableArguments` finds its options by reflection, so this one reflects those of the registry in place of its properties.
public struct DriverOptions: ParsableArguments, CustomReflectable {
    /// What was given, by the options' names; a flag that is there has an empty text.
    public private(set) var given: [String: String] = [:]

    public init() {}

    public var customMirror: Mirror {
        Mirror(
            self,
            children: Drivers.standard.options.map { option in
                let help = ArgumentHelp(.init(option.help), valueName: option.placeholder)
                let name = NameSpecification.customLong(option.name)
                return option.placeholder == nil
                    ? (option.name, Flag<Bool>(wrappedValue: false, name: name, help: help))
                    : (option.name, Option<String?>(name: name, help: help))
            })
    }

    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: Name.self)
        for option in Drivers.standard.options {
            let name = Name(stringValue: option.name)
            given[option.name] =
                option.placeholder == nil
                ? try values.decode(Flag<Bool>.self, forKey: name).wrappedValue ? "" : nil
                : try values.decode(Option<String?>.self, forKey: name).wrappedValue
        }
    }

    public func validate() throws {
        for option in Drivers.standard.options {
            if let text = given[option.name], let wrong = option.check(text) { throw ValidationError(wrong) }
        }
    }

    /// An option's name is its key.
    private struct Name: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }

        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }
}

extension DriverOption {
    /// How the help calls its value; nil for a flag.
    public var placeholder: String? {
        switch value {
        case .flag: nil
        case .text(let placeholder): placeholder
        case .secret: "file"
        }
    }
}
